// Command conversation runs the conversation worker as a program of its own.
package main

import (
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/conversation"
)

func main() { app.Main("conversation", conversation.Run) }
