//go:build !cgo

package mantis

// This line does not compile, so that the compiler says what to do.
var _ int = "mantisDB calls a C library: install gcc and pkg-config, and run  CGO_ENABLED=1 go build"
