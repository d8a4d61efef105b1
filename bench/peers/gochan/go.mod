module mantispool/bench/gochan

go 1.19

require mantispool/bench/goload v0.0.0

replace mantispool/bench/goload => ../goload
