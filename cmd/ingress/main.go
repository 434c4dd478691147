// Command ingress runs the ingress worker as a program of its own.
package main

import (
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/ingress"
)

func main() { app.Main("ingress", ingress.Run) }
