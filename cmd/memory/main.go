// Command memory runs the memory worker, the AI-Memory API, as a program of
// its own.
package main

import (
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/memory"
)

func main() { app.Main("memory", memory.Run) }
