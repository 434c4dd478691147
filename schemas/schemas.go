// Package schemas holds one JSON Schema per fact of package events.
package schemas

import "embed"

// FS holds the schemas, each named <noun>.<past participle>.v1.json.
//
//go:embed *.json
var FS embed.FS
