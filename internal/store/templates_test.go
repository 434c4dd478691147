package store_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
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

// Two templates were there before this program, and integrations rely on them:
// they are what they always were.
func TestTemplatesOfOthersAreTheirs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("templates.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"insurance_v1":   "75392059c7f1fd79f2a8e759933853dfeef6ddfbf4a0a88871eeaf3476d8c775",
		"real_estate_v1": "5248e49eff46af81920702449bebf35c648f8f08e12709596e2b494394784120",
	} {
		canonical, err := json.Marshal(all[id]) // keys sorted
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(canonical)); got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
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
