module mantispool/bench/puddle

go 1.19

require (
	github.com/jackc/puddle/v2 v2.2.2
	mantispool/bench/goload v0.0.0
)

require golang.org/x/sync v0.1.0 // indirect

replace mantispool/bench/goload => ../goload
