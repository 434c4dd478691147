package events

import (
	"slices"
	"strconv"
)

// SettingsChanged carries the tenant's settings after a change, whole.
type SettingsChanged struct {
	Changed  []string `json:"changed"` // names of the settings, sorted
	Settings Settings `json:"settings"`
}

// Name is "settings.changed".
func (SettingsChanged) Name() string { return "settings.changed" }

func (f SettingsChanged) identity() []string {
	return []string{strconv.FormatInt(f.Settings.Version, 10)}
}

// Settings is a tenant as the workers of a live call need it: the snapshot of
// its rows that is kept in the key-value bucket. It holds no secret.
type Settings struct {
	Tenant            Tenant            `json:"customer_id"`
	Version           int64             `json:"version"` // counts up with every change
	Status            string            `json:"status"`  // "active" or "suspended"
	Name              string            `json:"name"`    // of the business
	Numbers           []string          `json:"numbers"` // E.164, the tenant's own
	TimeZone          string            `json:"time_zone"`
	Language          string            `json:"language"` // BCP 47
	Agent             string            `json:"agent"`    // the receptionist's name
	VoiceProvider     string            `json:"voice_provider,omitempty"`
	Voice             string            `json:"voice,omitempty"`
	Greeting          string            `json:"greeting"`                     // with {business} {agent} {time_greeting}
	ReturningGreeting string            `json:"returning_greeting,omitempty"` // also {caller_name}; for callers we know
	Blocks            map[string]string `json:"blocks"`                       // role tone style knowledge safety → prompt text
	Sliders           map[string]int    `json:"sliders"`                      // 0 to 100; absent is 50
	Template          Template          `json:"template"`
	Transfers         []Transfer        `json:"transfers"`
	SMSTo             []string          `json:"sms_to"`                    // E.164, told about every call
	FallbackNumber    string            `json:"fallback_number,omitempty"` // a person, when all else fails
	Retention         *Retention        `json:"retention,omitempty"`       // nil: the platform's defaults
}

// Retention is how long a tenant's data is kept, in days; 0 is the platform's
// default.
type Retention struct {
	Transcripts int  `json:"transcript_days"`
	Raw         int  `json:"raw_days"`    // what models answered, unedited
	Texts       int  `json:"text_days"`   // bodies of texts
	Callers     int  `json:"caller_days"` // everything about a caller, since the last call
	Hold        bool `json:"hold"`        // nothing is removed, whatever its age
}

// Active reports whether the tenant's calls are answered.
func (s Settings) Active() bool { return s.Tenant.Valid() && s.Status == "active" }

// Transfer is a person or desk calls can be handed to.
type Transfer struct {
	Name        string   `json:"name"`
	Number      string   `json:"number"` // E.164
	Keywords    []string `json:"keywords,omitempty"`
	Description string   `json:"description,omitempty"`
}

// Template is one immutable version of an industry's caller profile.
type Template struct {
	ID        string  `json:"template_id"` // "insurance_v1"
	Name      string  `json:"display_name"`
	Fields    []Field `json:"fields"` // in the order of the template
	BioFormat string  `json:"quick_bio_format"`
	Extra     []Field `json:"extra,omitempty"` // the tenant's own, beside the template's
}

// All are the template's fields and the tenant's own.
func (t Template) All() []Field { return append(slices.Clip(t.Fields), t.Extra...) }

// Field is one fact a profile can hold, by its path in the template.
type Field struct {
	Path     string   `json:"path"`             // "personal.name", "policies.auto_1.year"
	Type     string   `json:"type"`             // text phone email int number float boolean date enum array[text] array[date]
	Values   []string `json:"values,omitempty"` // of an enum
	Required bool     `json:"required,omitempty"`
	// Mode is how a later word changes it: latest (empty), first, min, max,
	// union, append.
	Mode      string `json:"mode,omitempty"`
	Sensitive bool   `json:"sensitive,omitempty"` // kept sealed; shown only where asked for by name
}
