package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"neurosphere.ai/neurosphere/events"
)

// Templates are the industry templates this program ships.
func Templates() ([]events.Template, error) {
	var out []events.Template
	err := members(templatesJSON, func(_ string, raw json.RawMessage) error {
		var t struct {
			ID     string          `json:"template_id"`
			Name   string          `json:"display_name"`
			Fields json.RawMessage `json:"fields"`
			Bio    string          `json:"quick_bio_format"`
			// By path; beside the fields, whose form is others' too.
			Modes     map[string]string `json:"modes"`
			Sensitive []string          `json:"sensitive"`
		}
		if err := json.Unmarshal(raw, &t); err != nil {
			return err
		}
		fields, err := flatten("", t.Fields)
		if err != nil {
			return fmt.Errorf("template %s: %w", t.ID, err)
		}
		for i, f := range fields {
			fields[i].Mode, fields[i].Sensitive = t.Modes[f.Path], slices.Contains(t.Sensitive, f.Path)
		}
		out = append(out, events.Template{ID: t.ID, Name: t.Name, Fields: fields, BioFormat: t.Bio})
		return nil
	})
	return out, err
}

// flatten turns nested groups into fields with paths, in the order written. A
// leaf is "int", "enum[a,b]", or an object with a type.
func flatten(prefix string, raw json.RawMessage) (out []events.Field, err error) {
	err = members(raw, func(key string, v json.RawMessage) error {
		path := strings.TrimPrefix(prefix+"."+key, ".")
		var short string
		if json.Unmarshal(v, &short) == nil {
			f := events.Field{Path: path, Type: short}
			if list, ok := strings.CutPrefix(short, "enum["); ok {
				f.Type, f.Values = "enum", strings.Split(strings.TrimSuffix(list, "]"), ",")
			}
			out = append(out, f)
			return nil
		}
		var leaf struct {
			Type     string   `json:"type"`
			Values   []string `json:"values"`
			Required bool     `json:"required"`
		}
		if json.Unmarshal(v, &leaf) == nil && leaf.Type != "" {
			out = append(out, events.Field{Path: path, Type: leaf.Type, Values: leaf.Values, Required: leaf.Required})
			return nil
		}
		inner, err := flatten(path, v)
		out = append(out, inner...)
		return err
	})
	return out, err
}

// members calls f for each member of a JSON object, in the order written,
// which a Go map would lose.
func members(raw []byte, f func(string, json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return fmt.Errorf("want an object: %w", err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("want a name, got %v", key)
		}
		if err := f(name, v); err != nil {
			return err
		}
	}
	return nil
}
