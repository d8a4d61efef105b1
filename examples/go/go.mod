module example

go 1.19

require mantisDB v0.0.0

replace mantisDB => ../../go
