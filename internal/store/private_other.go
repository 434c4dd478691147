//go:build !linux

package store

import "syscall"

// endWithParent reports that this system's kernel lets children live on.
func endWithParent(*syscall.SysProcAttr) bool { return false }
