// Package settings keeps tenants' settings: what may be in them, how a change
// reaches the bus, and the copy that workers answer calls from.
package settings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"

	"neurosphere.ai/neurosphere/events"
)

// Default is a new tenant that sounds good with nothing but a name.
func Default(name string, t events.Template) events.Settings {
	s := events.Settings{
		Name: name, Status: "active", TimeZone: "America/New_York", Language: "en-US", Agent: "Sam",
		Greeting: "{time_greeting}, thank you for calling {business}. This is {agent}. How can I help you?",
		Blocks:   map[string]string{}, Sliders: map[string]int{}, Template: t,
		Transfers: []events.Transfer{}, SMSTo: []string{}, Numbers: []string{},
	}
	for _, b := range Blocks {
		s.Blocks[b.Name] = b.Default
	}
	return s
}

// Number brings a phone number into E.164; it must be written with its
// country, as in +12065550142.
func Number(s string) (string, error) {
	n, err := phonenumbers.Parse(strings.TrimSpace(s), "ZZ")
	if err != nil || !phonenumbers.IsPossibleNumber(n) {
		return "", fmt.Errorf("%q is no phone number with its country, as in +12065550142", s)
	}
	return phonenumbers.Format(n, phonenumbers.E164), nil
}

// Caller is a caller as people write them: a number, which is brought into
// E.164, or, as it stands, what the old service knew somebody by instead.
func Caller(s string) (string, error) {
	if !strings.HasPrefix(s, events.Legacy) {
		return Number(s)
	}
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("%q is not text that can be kept", s)
	}
	return s, nil
}

// Check reports everything wrong with s at once.
func Check(s events.Settings) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	text := func(name, v string, limit int, required bool) {
		if required && strings.TrimSpace(v) == "" {
			bad("%s: is empty", name)
		}
		if len(v) > limit {
			bad("%s: %d bytes; at most %d", name, len(v), limit)
		}
	}
	text("name", s.Name, 120, true)
	text("agent", s.Agent, 60, true)
	text("greeting", s.Greeting, 400, true)
	text("returning_greeting", s.ReturningGreeting, 400, false)
	for name, v := range s.Blocks {
		if !slices.ContainsFunc(Blocks, func(b struct{ Name, Default string }) bool { return b.Name == name }) {
			bad("blocks.%s: there is no such block; there are role tone style knowledge safety", name)
		}
		text("blocks."+name, v, 8000, false)
	}
	if s.Status != "active" && s.Status != "suspended" {
		bad("status: want active or suspended, got %q", s.Status)
	}
	if _, err := time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "" {
		bad("time_zone: want a name such as America/New_York, got %q", s.TimeZone)
	}
	if len(s.Language) < 2 || len(s.Language) > 20 {
		bad("language: want a tag such as en-US, got %q", s.Language)
	}
	if len(s.Numbers) == 0 {
		bad("numbers: at least one is needed")
	}
	number := func(name, v string) {
		if n, err := Number(v); err != nil || n != v {
			bad("%s: %q is not in the form +12065550142", name, v)
		}
	}
	for _, n := range s.Numbers {
		number("numbers", n)
	}
	for _, n := range s.SMSTo {
		number("sms_to", n)
	}
	if s.FallbackNumber != "" {
		number("fallback_number", s.FallbackNumber)
	}
	for i, t := range s.Transfers {
		text(fmt.Sprintf("transfers[%d].name", i), t.Name, 60, true)
		number(fmt.Sprintf("transfers[%d].number", i), t.Number)
	}
	errs = append(errs, checkFields(s.Template)...)
	return errors.Join(append(errs, checkSliders(s.Sliders)...)...)
}

var zones sync.Map // by name; each was read from the disk once

// Zone is the time zone of that name, UTC where there is none.
func Zone(name string) *time.Location {
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location)
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	zones.Store(name, z)
	return z
}

// Fill fills a greeting's placeholders, at now where the business is.
func Fill(text string, s events.Settings, caller string, now time.Time) string {
	part := "evening"
	switch h := now.In(Zone(s.TimeZone)).Hour(); {
	case h >= 4 && h < 12:
		part = "morning"
	case h >= 12 && h < 18:
		part = "afternoon"
	}
	return strings.NewReplacer("{business}", s.Name, "{agent}", s.Agent, "{time_greeting}", "Good "+part, "{caller_name}", caller).Replace(text)
}

// Keys are what Set takes.
const Keys = "name agent greeting returning_greeting time_zone language voice voice_provider fallback_number status " +
	"numbers sms_to transfers extra_fields retention.<transcript_days|raw_days|text_days|caller_days|hold> blocks.<role|tone|style|knowledge|safety> sliders.<name>"

// Set changes one setting by name, as people write it: lists with commas,
// transfers as JSON.
func Set(s *events.Settings, key, value string) error {
	plain := map[string]*string{
		"name": &s.Name, "agent": &s.Agent, "greeting": &s.Greeting, "returning_greeting": &s.ReturningGreeting,
		"time_zone": &s.TimeZone, "language": &s.Language, "voice": &s.Voice, "voice_provider": &s.VoiceProvider,
		"fallback_number": &s.FallbackNumber, "status": &s.Status,
	}
	if p, ok := plain[key]; ok {
		*p = value
		return nil
	}
	group, name, _ := strings.Cut(key, ".")
	switch {
	case key == "numbers" || key == "sms_to":
		list := []string{}
		for _, v := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
			n, err := Number(v)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
		if key == "numbers" {
			s.Numbers = list
		} else {
			s.SMSTo = list
		}
	case key == "transfers":
		var t []events.Transfer
		if err := json.Unmarshal([]byte(value), &t); err != nil {
			return fmt.Errorf(`transfers: want JSON such as [{"name":"claims","number":"+1…","description":"…"}]: %w`, err)
		}
		s.Transfers = t
	case key == "extra_fields":
		return setFields(s, value)
	case group == "retention" && name != "":
		return setRetention(s, name, value)
	case group == "blocks" && name != "":
		if s.Blocks == nil {
			s.Blocks = map[string]string{}
		}
		s.Blocks[name] = value
	case group == "sliders" && name != "":
		v, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%s: want a whole number, got %q", key, value)
		}
		if s.Sliders == nil {
			s.Sliders = map[string]int{}
		}
		s.Sliders[name] = v
	default:
		return fmt.Errorf("there is no setting %q; there are %s", key, Keys)
	}
	return nil
}

// MaxDays is how long anything may be kept on purpose; for longer there is hold.
const MaxDays = 3650

// setRetention changes how long one class of data is kept; 0 days, or an empty
// value, is the platform's default.
func setRetention(s *events.Settings, name, value string) error {
	r := events.Retention{}
	if s.Retention != nil {
		r = *s.Retention
	}
	days := map[string]*int{"transcript_days": &r.Transcripts, "raw_days": &r.Raw, "text_days": &r.Texts, "caller_days": &r.Callers}[name]
	switch {
	case name == "hold":
		v, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("retention.hold: want true or false, got %q", value)
		}
		r.Hold = v
	case days == nil:
		return fmt.Errorf("there is no setting %q; there are %s", "retention."+name, Keys)
	case value == "":
		*days = 0
	default:
		v, err := strconv.Atoi(value)
		if err != nil || v < 0 || v > MaxDays {
			return fmt.Errorf("retention.%s: want 1 to %d days, or 0 for the default, got %q", name, MaxDays, value)
		}
		*days = v
	}
	s.Retention = &r
	if r == (events.Retention{}) {
		s.Retention = nil
	}
	return nil
}

// Changed names what differs between two versions, sorted.
func Changed(before, after events.Settings) []string {
	a, b := reflect.ValueOf(before), reflect.ValueOf(after)
	names := map[string]bool{}
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if name != "version" && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Rows is the store as publishing needs it.
type Rows interface {
	Unpublished(ctx context.Context) ([]events.Settings, error)
	MarkPublished(ctx context.Context, t events.Tenant, version int64) error
	Newer(ctx context.Context, have map[events.Tenant]int64) ([]events.Settings, error)
}

// Bus is the bus as publishing needs it.
type Bus interface {
	Publish(ctx context.Context, e events.Event) (uint64, error)
	PutSettings(ctx context.Context, s events.Settings) error
	SettingsVersions(ctx context.Context) (map[events.Tenant]int64, error)
}

// Publish brings every change that is not on the bus yet there: first as a
// fact, then as the snapshot workers watch. Done twice, it changes nothing.
func Publish(ctx context.Context, rows Rows, b Bus) error {
	pending, err := rows.Unpublished(ctx)
	if err != nil {
		return err
	}
	for _, s := range pending {
		e := events.New(s.Tenant, "", time.Now(), events.SettingsChanged{Changed: []string{}, Settings: s})
		if _, err := b.Publish(ctx, e); err != nil {
			return fmt.Errorf("publish settings of customer %s: %w", s.Tenant, err)
		}
		if err := b.PutSettings(ctx, s); err != nil {
			return fmt.Errorf("put settings of customer %s: %w", s.Tenant, err)
		}
		if err := rows.MarkPublished(ctx, s.Tenant, s.Version); err != nil {
			return err
		}
	}
	return nil
}

// Restore puts back the snapshots that the bus has lost, or has older versions
// of, and returns how many.
func Restore(ctx context.Context, rows Rows, b Bus) (int, error) {
	have, err := b.SettingsVersions(ctx)
	if err != nil {
		return 0, err
	}
	lost, err := rows.Newer(ctx, have)
	if err != nil {
		return 0, err
	}
	for n, s := range lost {
		if err := b.PutSettings(ctx, s); err != nil {
			return n, fmt.Errorf("put settings of customer %s: %w", s.Tenant, err)
		}
	}
	return len(lost), nil
}

// NumberIn is Number for one that may be written as people of a region do, as
// in (206) 555-0100 for US. An extension makes it another number.
func NumberIn(s, region string) (string, error) {
	n, err := phonenumbers.Parse(strings.TrimSpace(s), region)
	if err != nil || !phonenumbers.IsPossibleNumber(n) || n.GetExtension() != "" {
		return "", errors.New("not a phone number of " + region)
	}
	return phonenumbers.Format(n, phonenumbers.E164), nil
}

// Region reports whether there is one of this name, as in US.
func Region(s string) bool { return phonenumbers.GetCountryCodeForRegion(s) != 0 }
