// Command profiler runs the profiler worker as a program of its own.
package main

import (
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/profiler"
)

func main() { app.Main("profiler", profiler.Run) }
