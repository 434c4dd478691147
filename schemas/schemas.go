// Package schemas embeds one JSON Schema per fact, named after it. They are the
// contract for whoever reads events and does not write Go.
package schemas

import "embed"

// FS holds <name>.v1.json for every fact of the catalogue.
//
//go:embed *.json
var FS embed.FS
