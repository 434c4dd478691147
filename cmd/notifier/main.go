// Command notifier runs the notifier worker as a program of its own.
package main

import (
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/notifier"
)

func main() { app.Main("notifier", notifier.Run) }
