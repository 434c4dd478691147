package settings_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/settings"
)

func good() events.Settings {
	s := settings.Default("Fig and Sons", events.Template{ID: "t"})
	s.Tenant, s.Version, s.Numbers = 1, 1, []string{"+12065550110"}
	return s
}

func TestANameAndANumberAreEnough(t *testing.T) {
	if err := settings.Check(good()); err != nil {
		t.Error(err)
	}
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	s := good()
	for k, v := range map[string]string{"agent": " ", "time_zone": "Mars", "status": "asleep", "sliders.warmth": "101", "sliders.sugar": "5", "blocks.mood": "x", "fallback_number": "911"} {
		if err := settings.Set(&s, k, v); err != nil {
			t.Fatal(k, err)
		}
	}
	err := settings.Check(s)
	for _, want := range []string{"agent", "time_zone", "status", "sliders.warmth", "sliders.sugar", "blocks.mood", "fallback_number"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not reported: %v", want, err)
		}
	}
	for k, v := range map[string]string{"colour": "red", "sms_to": "5550100", "sliders.warmth": "hot", "transfers": "nobody"} {
		before := good()
		if settings.Set(&before, k, v) == nil {
			t.Errorf("%s=%s is taken", k, v)
		}
	}
}

func TestThirtySlidersFollowTheirRule(t *testing.T) {
	if len(settings.Sliders) != 30 {
		t.Errorf("%d sliders", len(settings.Sliders))
	}
	for v, want := range map[int]string{100: "Very much:", 80: "Very much:", 79: "Quite:", 65: "Quite:", 64: "Moderately:", 51: "Moderately:", 50: "", 49: "Rather:", 30: "Rather:", 29: "Always:", 0: "Always:"} {
		lines := settings.SliderLines(map[string]int{"warmth": v})
		if want == "" && len(lines) != 0 || want != "" && (len(lines) != 1 || !strings.HasPrefix(lines[0], want)) {
			t.Errorf("%d: %v, want %q", v, lines, want)
		}
	}
}

func TestGreetingsAreFilledWhereTheBusinessIs(t *testing.T) {
	s := good()
	s.TimeZone = "America/Denver"
	at := time.Date(2026, 1, 5, 16, 0, 0, 0, time.UTC) // nine in the morning there
	if got, want := settings.Fill("{time_greeting} {caller_name}, {agent} of {business}", s, "Ann", at), "Good morning Ann, Sam of Fig and Sons"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDirectory(t *testing.T) {
	d := settings.NewDirectory(zap.NewNop())
	a := good()
	d.Apply(a, false)
	if s, ok := d.ByNumber("+12065550110"); !ok || s.Tenant != 1 {
		t.Errorf("%v %v", s.Tenant, ok)
	}
	old := a
	old.Version, old.Numbers = 0, []string{"+12065550119"}
	d.Apply(old, false)
	if _, ok := d.ByNumber("+12065550119"); ok {
		t.Error("an older version was taken in")
	}
	b := good()
	b.Tenant = 2
	d.Apply(b, false)
	if s, ok := d.ByNumber("+12065550110"); ok {
		t.Errorf("a number two claim is tenant %v's", s.Tenant)
	}
	d.Apply(b, true)
	if s, ok := d.ByNumber("+12065550110"); !ok || s.Tenant != 1 {
		t.Error("the number did not come back to its owner")
	}
	if _, ok := d.ByID(2); ok {
		t.Error("a deleted tenant is still there")
	}
	if _, ok := d.ByNumber(""); ok {
		t.Error("no number is somebody's")
	}
}

func TestZone(t *testing.T) {
	for name, want := range map[string]string{"America/New_York": "America/New_York", "Mars/Olympus": "UTC", "": "UTC"} {
		for range 2 {
			if got := settings.Zone(name).String(); got != want {
				t.Errorf("%q: %s, want %s", name, got, want)
			}
		}
	}
}

// A caller is a number, or what the old service knew one by, as it stands.
func TestCaller(t *testing.T) {
	for in, want := range map[string]string{
		" +1 (206) 555-0142": "+12065550142", "legacy:Bob": "legacy:Bob", "legacy:": "legacy:", "legacy: B/o b ": "legacy: B/o b ", "legacy:12065550142": "legacy:12065550142",
	} {
		if got, err := settings.Caller(in); err != nil || got != want || !events.Identified(got) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "Bob", "shared", "anonymous", " legacy:Bob", "Legacy:Bob", "legacy", "2065550142", "legacy:B\x00b", "legacy:B\xffb"} {
		if got, err := settings.Caller(in); err == nil {
			t.Errorf("%q is %q", in, got)
		}
	}
}
