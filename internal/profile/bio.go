package profile

import (
	"strconv"
	"strings"
)

// bio fills a template's one-line description. Parts between bars that have
// nothing to say are left out.
func bio(format string, c Caller) string {
	var parts []string
	for _, part := range strings.Split(format, "|") {
		missing := false
		text := strings.TrimSpace(placeholders(part, func(name string) string {
			v := c.field(name)
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

// field is a placeholder's value: a field by the end of its path, or a count.
// What is kept sealed is not shown.
func (c Caller) field(name string) string {
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
	for path, k := range c.Fields {
		if !k.sealed && strings.HasSuffix("."+path, "."+name) && (best == "" || path < best) {
			best = path
		}
	}
	return c.Fields[best].Value
}
