// Package schemas embeds one JSON Schema per fact, named after it. They are the
// contract for whoever reads events and does not write Go. Objects stay open,
// since version 1 of a fact grows by optional fields, and enums hold only what
// the contract closes for good: a reader refuses what its enum does not list.
package schemas

import "embed"

// FS holds <name>.v1.json for every fact of the catalogue.
//
//go:embed *.json
var FS embed.FS
