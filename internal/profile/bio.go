package profile

import (
	"slices"
	"strconv"
	"strings"

	"neurosphere.ai/neurosphere/events"
)

// bio fills a template's one-line description. Parts between bars that have
// nothing to say are left out.
func bio(t events.Template, c Caller) string {
	var parts []string
	for _, part := range strings.Split(t.BioFormat, "|") {
		missing := false
		text := strings.TrimSpace(placeholders(part, func(name string) string {
			v := c.field(name, t.Fields)
			missing = missing || v == ""
			return v
		}))
		if !missing && text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " | ")
}

func placeholders(s string, value func(string) string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			b.WriteString("{" + rest)
			return b.String()
		}
		b.WriteString(value(name))
		s = after
	}
}

// field is a placeholder's value: a field by the end of its path, or a count. A
// tenant's own fields stand in for none of the template's: their dog's name is
// not the caller's. What is kept sealed is not shown.
func (c Caller) field(name string, template []events.Field) string {
	switch name {
	case "first_call_year":
		if c.First.IsZero() {
			return ""
		}
		return strconv.Itoa(c.First.Year())
	case "policy_count":
		groups := map[string]bool{}
		for path := range c.Fields {
			if p := strings.Split(path, "."); p[0] == "policies" && len(p) > 1 {
				groups[p[1]] = true
			}
		}
		if len(groups) == 0 {
			return ""
		}
		return strconv.Itoa(len(groups))
	}
	best := ""
	meant := func(path string) bool { return strings.HasSuffix("."+path, "."+name) }
	named := slices.ContainsFunc(template, func(f events.Field) bool { return meant(f.Path) })
	for path, k := range c.Fields {
		if named && !slices.ContainsFunc(template, func(f events.Field) bool { return f.Path == path }) {
			continue
		}
		if !k.sealed && meant(path) && (best == "" || path < best) {
			best = path
		}
	}
	return c.Fields[best].Value
}
