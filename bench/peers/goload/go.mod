module mantispool/bench/goload

go 1.19
