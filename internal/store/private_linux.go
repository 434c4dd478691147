package store

import "syscall"

// endWithParent asks the kernel to end a child in good order when we die, and
// reports whether it will.
func endWithParent(a *syscall.SysProcAttr) bool {
	a.Pdeathsig = syscall.SIGINT
	return true
}
