// Package testenv gives tests real parts to work against: a bus and a
// database of their own.
package testenv
