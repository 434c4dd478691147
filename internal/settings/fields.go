package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"neurosphere.ai/neurosphere/events"
)

const (
	maxFields = 100 // of a tenant's own
	maxPath   = 80  // bytes
)

var (
	pathForm   = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$`)
	fieldTypes = strings.Fields("text phone email int number float boolean date enum array[text] array[date]")
	fieldModes = strings.Fields("latest first min max union append")
)

// SetTemplate moves a tenant to another template, or another version of it;
// its own fields stay.
func SetTemplate(s *events.Settings, t events.Template) {
	t.Extra = s.Template.Extra
	s.Template = t
}

func setFields(s *events.Settings, value string) error {
	fields := []events.Field{}
	dec := json.NewDecoder(bytes.NewReader([]byte(value)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&fields); err != nil || dec.More() {
		return fmt.Errorf(`extra_fields: want JSON such as [{"path":"policies.boat.length","type":"number","mode":"max"}]`)
	}
	s.Template.Extra = fields
	if len(fields) == 0 {
		s.Template.Extra = nil
	}
	return nil
}

// checkFields reports what is wrong with a tenant's own fields.
func checkFields(t events.Template) (errs []error) {
	if len(t.Extra) > maxFields {
		errs = append(errs, fmt.Errorf("extra_fields: %d; at most %d", len(t.Extra), maxFields))
	}
	taken := slices.Clone(t.Fields)
	for i, f := range t.Extra {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("extra_fields[%d]: "+format, append([]any{i}, args...)...))
		}
		if !pathForm.MatchString(f.Path) || len(f.Path) > maxPath {
			bad("path: want groups and a name in small letters, as in policies.boat.length, at most %d bytes", maxPath)
		} else if strings.HasPrefix(f.Path, "memory.") {
			bad("path: memory is for what has no field")
		}
		for _, other := range taken {
			if f.Path == other.Path || strings.HasPrefix(f.Path, other.Path+".") || strings.HasPrefix(other.Path, f.Path+".") {
				bad("path: %s is there already, as %s", f.Path, other.Path)
				break
			}
		}
		taken = append(taken, f)
		switch {
		case !slices.Contains(fieldTypes, f.Type):
			bad("type: there are %s", strings.Join(fieldTypes, " "))
		case f.Type == "enum" && len(f.Values) == 0, f.Type != "enum" && len(f.Values) > 0, slices.Contains(f.Values, ""):
			bad("values: an enum has some, and nothing else has")
		case f.Mode != "" && !slices.Contains(fieldModes, f.Mode):
			bad("mode: there are %s", strings.Join(fieldModes, " "))
		case (f.Mode == "min" || f.Mode == "max") && !slices.Contains([]string{"int", "number", "float", "date"}, f.Type):
			bad("mode: %s is of numbers and dates", f.Mode)
		case (f.Mode == "union" || f.Mode == "append") && !strings.HasPrefix(f.Type, "array["):
			bad("mode: %s is of lists", f.Mode)
		}
	}
	return errs
}
