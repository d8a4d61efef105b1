module mantispool/bench/mantis_go

go 1.19

require (
	mantisDB v0.0.0
	mantispool/bench/goload v0.0.0
)

replace (
	mantisDB => ../go
	mantispool/bench/goload => ../goload
)
