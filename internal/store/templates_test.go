package store_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// Every template that is shipped can be a tenant's, and what is shown of its
// callers can be filled in from its fields.
func TestTemplatesAreSound(t *testing.T) {
	t.Parallel()
	all, err := store.Templates()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, tpl := range all {
		ids = append(ids, tpl.ID)
		// A template's fields are sound where they could be a tenant's own.
		s := settings.Default("Fig", events.Template{ID: tpl.ID})
		s.Numbers, s.Template.Extra = []string{"+12065550100"}, tpl.Fields
		if err := settings.Check(s); err != nil {
			t.Errorf("%s: %v", tpl.ID, err)
		}
		for _, path := range []string{"personal.name", "personal.phone"} {
			if i := slices.IndexFunc(tpl.Fields, func(f events.Field) bool { return f.Path == path }); i < 0 || !tpl.Fields[i].Required {
				t.Errorf("%s: %s is not asked for", tpl.ID, path)
			}
		}
		if tpl.Name == "" || tpl.BioFormat == "" {
			t.Errorf("%s has no name or bio", tpl.ID)
		}
	}
	slices.Sort(ids)
	if want := []string{"dental_v1", "insurance_v1", "mortgage_v1", "real_estate_v1"}; !slices.Equal(ids, want) {
		t.Errorf("there are %v, want %v", ids, want)
	}
	i := slices.IndexFunc(all, func(t events.Template) bool { return t.ID == "dental_v1" })
	for _, f := range all[i].Fields {
		if f.Path == "personal.birth_date" && (f.Mode != "first" || !f.Sensitive) {
			t.Errorf("%+v", f)
		}
	}
}

// Two templates are others' too, as they are.
func TestTemplatesOfOthersAreTheirs(t *testing.T) {
	t.Parallel()
	theirs, err := os.ReadFile("../../../shared/reference/templates.json")
	if err != nil {
		t.Skipf("the reference templates are not here: %v", err)
	}
	ours, err := os.ReadFile("templates.json")
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := json.Unmarshal(theirs, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(ours, &got); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"insurance_v1", "real_estate_v1"} {
		if want[id] == nil {
			t.Errorf("no %s to compare with", id)
		}
		if diff := cmp.Diff(want[id], got[id]); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
}

// Templates are in the database, and the rows never change.
func TestTemplatesAreListed(t *testing.T) {
	t.Parallel()
	all, err := shared.ListTemplates(t.Context())
	if err != nil || len(all) < 4 {
		t.Fatalf("%d templates, %v", len(all), err)
	}
	for _, want := range all {
		if got, err := shared.Template(t.Context(), want.ID); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v", want.ID, err)
		}
	}
	if _, err := connect(t, private.DSN()+" search_path=app").Exec(t.Context(), `SET ROLE app_platform; UPDATE industry_templates SET template = '{}'`); err == nil {
		t.Error("a template can be changed")
	}
}
