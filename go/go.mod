module mantisDB

go 1.19
