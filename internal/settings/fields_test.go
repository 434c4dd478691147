package settings_test

import (
	"fmt"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/settings"
)

func TestTenantsOwnFields(t *testing.T) {
	t.Parallel()
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf(`{"path":"own.f%d","type":"text"}`, i)
	}
	for value, wrong := range map[string]string{
		`[{"path":"policies.boat.length","type":"number","mode":"max"}]`: "",
		`[{"path":"own.kind","type":"enum","values":["a","b"]}]`:         "",
		`[{"path":"own.tags","type":"array[text]","mode":"append"}]`:     "",
		`[]`:                                   "",
		`nonsense`:                             "want JSON",
		`[{"path":"a.b","type":"text"}] []`:    "want JSON",
		`[{"path":"a.b","kind":"text"}]`:       "want JSON",
		`[{"path":"alone","type":"text"}]`:     "path",
		`[{"path":"A.b","type":"text"}]`:       "path",
		`[{"path":"a.b.c.d.e","type":"text"}]`: "path",
		`[{"path":"a.` + strings.Repeat("b", 80) + `","type":"text"}]`:        "path",
		`[{"path":"memory.pet","type":"text"}]`:                               "memory",
		`[{"path":"personal.name","type":"text"}]`:                            "there already",
		`[{"path":"personal.name.first","type":"text"}]`:                      "there already",
		`[{"path":"policies.auto_1","type":"text"}]`:                          "there already",
		`[{"path":"a.b","type":"text"},{"path":"a.b","type":"int"}]`:          "there already",
		`[{"path":"a.b","type":"money"}]`:                                     "type",
		`[{"path":"a.b","type":"enum"}]`:                                      "values",
		`[{"path":"a.b","type":"text","values":["x"]}]`:                       "values",
		`[{"path":"a.b","type":"text","mode":"newest"}]`:                      "mode",
		`[{"path":"a.b","type":"text","mode":"max"}]`:                         "mode",
		`[{"path":"a.b","type":"text","mode":"union"}]`:                       "mode",
		`[` + strings.Join(many, ",") + `]`:                                   "at most 100",
		`[{"path":"policies.boat.length","type":"number","mode":"max"}, "x"]`: "want JSON",
	} {
		s := settings.Default("Fig", events.Template{Fields: []events.Field{{Path: "personal.name"}, {Path: "policies.auto_1.make"}}})
		s.Numbers = []string{"+12065550100"}
		err := settings.Set(&s, "extra_fields", value)
		if err != nil && s.Template.Extra != nil {
			t.Errorf("%.60s: refused, and set", value)
		}
		if err == nil {
			err = settings.Check(s)
		}
		if (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%.60s: %v; want %q", value, err, wrong)
		}
	}
}

// Another template keeps a tenant's own fields, unless it has them itself.
func TestAnotherTemplate(t *testing.T) {
	t.Parallel()
	s := settings.Default("Fig", events.Template{ID: "a_v1"})
	s.Numbers = []string{"+12065550100"}
	if err := settings.Set(&s, "extra_fields", `[{"path":"own.x","type":"text"}]`); err != nil {
		t.Fatal(err)
	}
	settings.SetTemplate(&s, events.Template{ID: "a_v2", Fields: []events.Field{{Path: "own.y"}}})
	if err := settings.Check(s); err != nil || s.Template.ID != "a_v2" || len(s.Template.All()) != 2 {
		t.Errorf("%+v, %v", s.Template, err)
	}
	settings.SetTemplate(&s, events.Template{ID: "a_v3", Fields: []events.Field{{Path: "own.x"}}})
	if err := settings.Check(s); err == nil || !strings.Contains(err.Error(), "extra_fields[0]") {
		t.Errorf("%v", err)
	}
}
