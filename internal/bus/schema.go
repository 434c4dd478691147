package bus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaSet holds the compiled schemas of all facts, by name. What we write
// must fit exactly; what we read may hold fields we do not know, since v1 of a
// fact grows by optional fields and producers may be newer than we are.
type schemaSet struct {
	write, read map[string]*jsonschema.Schema
	quick       map[string]*shape // of read: what fits it fits read
}

func schemaFile(name string) string { return name + ".v1.json" }

func compileSchemas(files fs.FS, names []string) (*schemaSet, error) {
	s := &schemaSet{}
	var err error
	if s.write, err = compileAll(files, names, func(any) {}); err != nil {
		return nil, err
	}
	if s.read, err = compileAll(files, names, openUp); err != nil {
		return nil, err
	}
	s.quick = map[string]*shape{}
	for _, name := range names {
		raw, err := fs.ReadFile(files, schemaFile(name))
		if err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("read schema %s: %w", name, err)
		}
		openUp(doc)
		s.quick[name] = newShape(doc)
	}
	return s, nil
}

func compileAll(files fs.FS, names []string, edit func(any)) (map[string]*jsonschema.Schema, error) {
	paths, err := fs.Glob(files, "*.json")
	if err != nil {
		return nil, fmt.Errorf("list schemas: %w", err)
	}
	c := jsonschema.NewCompiler()
	at := map[string]string{} // file → where the compiler knows it
	for _, path := range paths {
		raw, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("read schema %s: %w", path, err)
		}
		edit(doc)
		at[path] = schemaBase + path
		if obj, ok := doc.(map[string]any); ok {
			if id, ok := obj["$id"].(string); ok && strings.Contains(id, "://") {
				at[path] = id // references between files are relative to it
			}
		}
		if err := c.AddResource(at[path], doc); err != nil {
			return nil, fmt.Errorf("read schema %s: %w", path, err)
		}
	}
	out := map[string]*jsonschema.Schema{}
	for _, name := range names {
		url, ok := at[schemaFile(name)]
		if !ok {
			return nil, fmt.Errorf("schema %s is missing", schemaFile(name))
		}
		if out[name], err = c.Compile(url); err != nil {
			return nil, fmt.Errorf("compile schema %s: %w", schemaFile(name), err)
		}
	}
	return out, nil
}

// openUp lets objects of a schema hold unknown fields.
func openUp(doc any) {
	switch d := doc.(type) {
	case map[string]any:
		for _, key := range []string{"additionalProperties", "unevaluatedProperties"} {
			if closed, ok := d[key].(bool); ok && !closed {
				delete(d, key)
			}
		}
		for _, v := range d {
			openUp(v)
		}
	case []any:
		for _, v := range d {
			openUp(v)
		}
	}
}

func (s *schemaSet) checkWritten(name string, data []byte) error { return check(s.write[name], data) }

func (s *schemaSet) checkRead(name string, data []byte) error { return check(s.read[name], data) }

func check(s *jsonschema.Schema, data []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return errors.New("body is not JSON")
	}
	var bad *jsonschema.ValidationError
	if err := s.Validate(v); errors.As(err, &bad) {
		return fmt.Errorf("body does not fit its schema: %s", strings.Join(misfits(bad, nil), ", "))
	} else if err != nil {
		return errors.New("body cannot be checked against its schema")
	}
	return nil
}

// misfits lists where bad fails and on which keyword. The validator's own
// messages quote values, and those may be somebody's words or number.
func misfits(bad *jsonschema.ValidationError, out []string) []string {
	if len(bad.Causes) == 0 && len(out) < 5 {
		return append(out, "/"+strings.Join(bad.InstanceLocation, "/")+" "+strings.Join(bad.ErrorKind.KeywordPath(), "/"))
	}
	for _, c := range bad.Causes {
		out = misfits(c, out)
	}
	return out
}
