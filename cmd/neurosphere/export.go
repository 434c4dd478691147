package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	pages "html/template"
	"os"
	"path/filepath"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/settings"
)

// export writes what is kept about callers to files.
func export(ctx context.Context, fs *flag.FlagSet, args []string) error {
	tenant := fs.Int("tenant", 0, "customer_id")
	caller := fs.String("caller", "", "this caller alone, +1… or legacy:…; default: every caller of the business")
	out := fs.String("out", "", "directory to write to, made if need be (default export-N)")
	asJSON := fs.Bool("json", false, "print one caller's document, and write nothing")
	if err := parse(fs, args); err != nil {
		return err
	}
	id := events.Tenant(*tenant)
	switch {
	case !id.Valid():
		return wrongf("neurosphere export: -tenant is needed")
	case *asJSON && *caller == "":
		return wrongf("neurosphere export: -json needs a -caller")
	}
	number := ""
	if *caller != "" {
		var err error
		if number, err = settings.Caller(*caller); err != nil {
			return wrongf("neurosphere export: -caller: %w", err)
		}
	}
	r, err := newReach()
	if err != nil {
		return err
	}
	defer r.close()
	s, err := r.privacy(ctx)
	if err != nil {
		return err
	}
	if err := known(ctx, s.Store, id); err != nil {
		return err
	}
	if *out == "" {
		*out = "export-" + id.String()
	}
	if number == "" {
		return exportAll(ctx, s, id, *out)
	}
	d, err := s.Export(ctx, id, number)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(d)
	}
	if err := writeDocument(*out, "caller", d); err != nil {
		return err
	}
	fmt.Println(filepath.Join(*out, "caller.html"))
	return nil
}

// indexed is a caller in the index of an export.
type indexed struct {
	Caller string `json:"user_id,omitempty"` // empty: calls without a number
	Name   string `json:"name"`
	Calls  int    `json:"calls"`
	File   string `json:"file"` // with .json and .html
}

func exportAll(ctx context.Context, s *privacy.Service, id events.Tenant, out string) error {
	set, err := s.Store.Settings(ctx, id)
	if err != nil {
		return err
	}
	index := []indexed{}
	told := time.Now()
	err = s.ExportAll(ctx, id, func(d privacy.Document) error {
		name := fmt.Sprintf("callers/%06d", len(index)+1)
		if d.Caller == "" {
			name = "callers/without-number"
		}
		if time.Since(told) > time.Second {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "%d callers\n", len(index))
		}
		known, _ := d.Profile["name"].(string)
		index = append(index, indexed{d.Caller, known, len(d.Calls), name})
		return writeDocument(out, name, d)
	})
	if err != nil {
		return err
	}
	if err := dropFormer(out, index); err != nil {
		return err
	}
	if err := writeJSON(out, "settings.json", set); err != nil {
		return err
	}
	err = writeJSON(out, "index.json", map[string]any{
		"schema": "neurosphere.ai/export/business/v1", "customer_id": id, "business": set.Name, "exported_at": time.Now().UTC(), "callers": index,
	})
	if err != nil {
		return err
	}
	page, err := pages.New("index").Parse(indexPage)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := page.Execute(&text, map[string]any{"Business": set.Name, "Callers": index}); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "index.html"), []byte(privacy.Legible(text.String())), 0o600); err != nil {
		return err
	}
	fmt.Printf("%s: %d callers\n", filepath.Join(out, "index.html"), len(index))
	return nil
}

// dropFormer removes what an earlier export to the same place wrote of callers
// and this one did not: they may have been erased since.
func dropFormer(out string, index []indexed) error {
	now := map[string]bool{}
	for _, c := range index {
		now[c.File+".json"], now[c.File+".html"] = true, true
	}
	for _, pattern := range []string{"[0-9][0-9][0-9][0-9][0-9][0-9]", "without-number"} {
		for _, ext := range []string{".json", ".html"} {
			there, err := filepath.Glob(filepath.Join(out, "callers", pattern+ext))
			if err != nil {
				return err
			}
			for _, path := range there {
				if now["callers/"+filepath.Base(path)] {
					continue
				}
				if err := os.Remove(path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

const indexPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Business}}</title>
<style>body{margin:2rem auto;max-width:50rem;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:#1c2430}table{width:100%;border-collapse:collapse}th,td{text-align:left;padding:.4rem .6rem .4rem 0;border-bottom:1px solid #dfe5ec}a{color:#0b6bcb}</style></head>
<body><h1>{{.Business}}</h1><p>Everything kept about each caller. The settings are in settings.json.</p>
<table><tr><th>Caller</th><th>Name</th><th>Calls</th><th></th></tr>
{{range .Callers}}<tr><td>{{with .Caller}}{{.}}{{else}}without a number{{end}}</td><td>{{.Name}}</td><td>{{.Calls}}</td><td><a href="{{.File}}.html">page</a> <a href="{{.File}}.json">JSON</a></td></tr>
{{end}}</table></body></html>
`

func writeDocument(dir, name string, d privacy.Document) error {
	if err := writeJSON(dir, name+".json", d); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".html"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.HTML(f)
}

// writeJSON writes for the owner's eyes only.
func writeJSON(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o600)
}
