// Command summarizer runs the summarizer worker as a program of its own.
package main

import (
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/summarizer"
)

func main() { app.Main("summarizer", summarizer.Run) }
