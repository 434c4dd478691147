package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"neurosphere.ai/neurosphere/events"
	folding "neurosphere.ai/neurosphere/internal/profile"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// object is JSON that comes from the database as it is.
type object json.RawMessage

// MarshalJSON is the object, an empty one where there is none.
func (o object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("{}"), nil
	}
	return o, nil
}

// Schema is for the document.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// list is JSON that comes from the database as it is.
type list json.RawMessage

// MarshalJSON is the list, an empty one where there is none.
func (l list) MarshalJSON() ([]byte, error) {
	if len(l) == 0 || string(l) == "null" {
		return []byte("[]"), nil
	}
	return l, nil
}

// Schema is for the document.
func (list) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{}}
}

// profile is what is known about a caller.
type profile struct {
	CustomerID    int32             `json:"customer_id"`
	UserID        string            `json:"user_id"`
	FirstCallDate *time.Time        `json:"first_call_date" doc:"Null where there was no call yet"`
	LastCallDate  *time.Time        `json:"last_call_date"`
	TotalCalls    int               `json:"total_calls"`
	PreferredName string            `json:"preferred_name"`
	QuickBio      string            `json:"quick_bio"`
	Template      string            `json:"template"`
	Preferences   map[string]any    `json:"preferences" doc:"Memories of type preference, by key"`
	Context       map[string]string `json:"context" doc:"Fields of the template that are known, by path"`
	Fields        object            `json:"fields" doc:"The same fields, each with who said it, in which call and turn, in which words, when, and what it replaced"`
	FormerFields  object            `json:"former_fields" doc:"Fields that hold nothing any more, and what they held"`
	LeadStage     string            `json:"lead_stage"`
	LeadSince     *time.Time        `json:"lead_since"`
	LeadHistory   list              `json:"lead_history"`
}

// known is what is read of a field with its provenance.
type known struct {
	Value string    `json:"value"`
	At    time.Time `json:"said_at"`
	By    string    `json:"by"`
}

func profileOf(who asker, p store.ProfileOf) (out profile, fields map[string]known, err error) {
	out = profile{
		CustomerID: int32(who.tenant), UserID: p.User, FirstCallDate: utc(p.First), LastCallDate: utc(p.Last), TotalCalls: p.Calls, PreferredName: p.Name,
		QuickBio: p.QuickBio, Template: p.Template, Preferences: map[string]any{}, Context: map[string]string{}, Fields: object(p.Fields), FormerFields: object(p.Former),
		LeadSince: utc(p.Since), LeadHistory: list(p.Lead),
	}
	if p.Stage != nil {
		out.LeadStage = *p.Stage
	}
	if err := json.Unmarshal(p.Fields, &fields); err != nil {
		return out, nil, err
	}
	for path, k := range fields {
		out.Context[path] = k.Value
	}
	if len(p.Preferences) <= len("{}") {
		return out, fields, nil
	}
	var preferences map[string]string
	if err := json.Unmarshal(p.Preferences, &preferences); err != nil {
		return out, nil, err
	}
	for key, v := range preferences {
		out.Preferences[key] = value("api", v)
	}
	return out, fields, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func (s *service) callerRoutes(a *api) {
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v2/profiles", OperationID: "list-profiles", Summary: "All callers' profiles, in the order of their numbers",
	}, s.listProfiles)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v2/profile/{user_id}", OperationID: "get-profile", Summary: "One caller's profile",
	}, s.getProfile)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/caller/profile/{phone}", OperationID: "get-caller-profile", Summary: "The same, without an envelope",
	}, s.getCallerProfile)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v2/profile/{user_id}/corrections", OperationID: "correct-profile", Summary: "Set a field right: this outranks what calls say, before and after",
	}, s.correct)
	route(a, huma.Operation{
		Method: http.MethodDelete, Path: "/v2/profile/{user_id}/fields/{field}", OperationID: "delete-profile-field", Summary: "Empty a field, whatever calls say, before and after",
	}, s.deleteField)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v2/personality/{user_id}", OperationID: "get-personality", Summary: "How a caller talks, observed from the words of calls; no personality test, and not to decide about prices or people",
	}, s.personality)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v2/leads/{user_id}/stage", OperationID: "move-lead", Summary: "Move a caller's lead to a stage",
	}, s.moveLead)
}

type listProfilesIn struct {
	CustomerQuery
	PageQuery
}

type listProfilesOut struct {
	Body struct {
		Success    bool      `json:"success"`
		CustomerID int32     `json:"customer_id"`
		Profiles   []profile `json:"profiles"`
		Total      int       `json:"total" doc:"Of all pages"`
		NextCursor string    `json:"next_cursor,omitempty"`
	}
}

func (s *service) listProfiles(ctx context.Context, who asker, in *listProfilesIn) (*listProfilesOut, error) {
	const list = "profiles"
	var after string
	if _, err := s.open(who.tenant, list, in.Cursor, &after); err != nil {
		return nil, err
	}
	rows, total, err := who.rows.Profiles(ctx, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listProfilesOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.Profiles, out.Body.Total = true, int32(who.tenant), []profile{}, total
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		if out.Body.NextCursor, err = s.seal(who.tenant, list, rows[in.Limit-1].User); err != nil {
			return nil, err
		}
	}
	for _, r := range rows {
		p, _, err := profileOf(who, r)
		if err != nil {
			return nil, err
		}
		out.Body.Profiles = append(out.Body.Profiles, p)
	}
	return out, nil
}

type userIn struct {
	CustomerQuery
	UserPath
}

type profileOut struct {
	Body struct {
		Success    bool    `json:"success"`
		CustomerID int32   `json:"customer_id"`
		UserID     string  `json:"user_id"`
		Profile    profile `json:"profile"`
	}
}

func (s *service) getProfile(ctx context.Context, who asker, in *userIn) (*profileOut, error) {
	user, err := caller("path.user_id", in.UserID)
	if err != nil {
		return nil, err
	}
	return s.profile(ctx, who, user)
}

func (s *service) profile(ctx context.Context, who asker, user string) (*profileOut, error) {
	row, err := who.rows.Profile(ctx, user)
	if err != nil {
		return nil, err
	}
	out := &profileOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.UserID = true, int32(who.tenant), user
	out.Body.Profile, _, err = profileOf(who, row)
	return out, err
}

type phoneIn struct {
	CustomerQuery
	PhonePath
}

type callerProfileOut struct{ Body profile }

func (s *service) getCallerProfile(ctx context.Context, who asker, in *phoneIn) (*callerProfileOut, error) {
	user, err := caller("path.phone", in.Phone)
	if err != nil {
		return nil, err
	}
	out, err := s.profile(ctx, who, user)
	if err != nil {
		return nil, err
	}
	return &callerProfileOut{out.Body.Profile}, nil
}

type correctIn struct {
	Idempotency
	UserPath
	Body struct {
		CustomerBody
		Field  string `json:"field" minLength:"1" maxLength:"200" doc:"Path of the field, as in personal.name"`
		Value  string `json:"value" minLength:"1" maxLength:"2000" doc:"What is right; items of a list with commas"`
		By     string `json:"by,omitempty" nullable:"true" maxLength:"100" doc:"Who of your people says so"`
		Reason string `json:"reason,omitempty" nullable:"true" maxLength:"500"`
	}
}

func (s *service) correct(ctx context.Context, who asker, in *correctIn) (*profileOut, error) {
	user, row, err := s.someone(ctx, who, in.UserID)
	if err != nil {
		return nil, err
	}
	field := plain(in.Body.Field)
	set, err := s.store.Settings(ctx, who.tenant)
	if err != nil {
		return nil, err
	}
	of, ok, err := fieldOf(set.Template, row, field)
	if err != nil {
		return nil, err
	} else if !ok {
		return nil, invalid("body.field", "the customer's template has no such field")
	}
	v, ok := folding.Corrected(of, plain(in.Body.Value), s.now(), settings.Zone(set.TimeZone))
	if !ok {
		return nil, invalid("body.value", "the field is of type %s", cmp.Or(of.Type, "text"))
	}
	f := events.CallerCorrected{Caller: user, Field: field, Value: v, By: by(who, in.Body.By), Nth: nth(in.Key), Reason: plain(in.Body.Reason)}
	if err := s.stateAs(ctx, who, in.Key, user, events.New(who.tenant, "", s.now(), f)); err != nil {
		return nil, err
	}
	return s.profile(ctx, who, user)
}

type deleteFieldIn struct {
	CustomerQuery
	UserPath
	Field  string `path:"field" maxLength:"200" doc:"Path of the field, as in personal.name"`
	By     string `query:"by" maxLength:"100" doc:"Who of your people says so"`
	Reason string `query:"reason" maxLength:"500"`
}

func (s *service) deleteField(ctx context.Context, who asker, in *deleteFieldIn) (*profileOut, error) {
	user, row, err := s.someone(ctx, who, in.UserID)
	if err != nil {
		return nil, err
	}
	field := plain(in.Field)
	var have map[string]known
	if err := json.Unmarshal(row.Fields, &have); err != nil {
		return nil, err
	}
	if _, ok := have[field]; !ok {
		return nil, notFound()
	}
	const once = ""
	f := events.CallerCorrected{Caller: user, Field: field, By: by(who, in.By), Nth: nth(once), Reason: plain(in.Reason)}
	if err := s.state(ctx, who, events.New(who.tenant, "", s.now(), f)); err != nil {
		return nil, err
	}
	return s.profile(ctx, who, user)
}

// someone is a caller who is known.
func (s *service) someone(ctx context.Context, who asker, userID string) (user string, row store.ProfileOf, err error) {
	if user, err = caller("path.user_id", userID); err == nil {
		row, err = who.rows.Profile(ctx, user)
	}
	return user, row, err
}

// nth tells two statements of the same apart; with an idempotency key they are
// one.
func nth(key string) string {
	if key == "" {
		return uuid.NewString()
	}
	return events.Derive("idempotency", key)
}

// slots are the numbers of things of one kind, as in policies.auto_2.
var slots = regexp.MustCompile(`_[1-9][0-9]?\.`)

// fieldOf is a field that a profile can hold: one of the template's, one of
// another thing of the same kind, or one it holds already.
func fieldOf(t events.Template, row store.ProfileOf, field string) (of events.Field, ok bool, err error) {
	all, kind := t.All(), slots.ReplaceAllString(field, "_#.")
	if i := slices.IndexFunc(all, func(f events.Field) bool { return f.Path == field }); i >= 0 {
		return all[i], true, nil
	}
	if i := slices.IndexFunc(all, func(f events.Field) bool { return slots.ReplaceAllString(f.Path, "_#.") == kind }); i >= 0 {
		return all[i], true, nil
	}
	var have map[string]json.RawMessage
	err = json.Unmarshal(row.Fields, &have)
	_, ok = have[field]
	return events.Field{Path: field}, ok, err
}

type personality struct {
	CallCount          int                `json:"call_count"`
	BigFive            map[string]float64 `json:"big_five" doc:"Empty: not measured, since it cannot be told from calls"`
	CommunicationStyle map[string]float64 `json:"communication_style" doc:"0 to 100: formality, directness, detail_orientation, patience, technical_comfort"`
	EmotionalState     map[string]float64 `json:"emotional_state" doc:"0 to 100: frustration_level, satisfaction_level, urgency_level"`
	Others             map[string]float64 `json:"others" doc:"0 to 100: every other trait"`
	Trends             struct {
		Satisfaction string `json:"satisfaction_trend" enum:"improving,stable,declining"`
	} `json:"trends"`
	Measured int64  `json:"measured_calls" doc:"Calls long enough to show anything"`
	Method   string `json:"method"`
}

// maybePersonality is a personality or null.
type maybePersonality struct{ *personality }

// MarshalJSON is one or the other.
func (m maybePersonality) MarshalJSON() ([]byte, error) { return json.Marshal(m.personality) }

// Schema is for the document.
func (maybePersonality) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{r.Schema(reflect.TypeFor[personality](), true, ""), {Type: "null"}}}
}

type personalityOut struct {
	Body struct {
		Success     bool             `json:"success"`
		CustomerID  int32            `json:"customer_id"`
		UserID      string           `json:"user_id"`
		Personality maybePersonality `json:"personality" doc:"Null where no call was long enough"`
		Message     string           `json:"message,omitempty"`
	}
}

const method = "observed from the words of calls; not a personality test"

func (s *service) personality(ctx context.Context, who asker, in *userIn) (*personalityOut, error) {
	user, row, err := s.someone(ctx, who, in.UserID)
	if err != nil {
		return nil, err
	}
	feelings, err := who.rows.Sentiments(ctx, user)
	if err != nil {
		return nil, err
	}
	out := &personalityOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.UserID = true, int32(who.tenant), user
	out.Body.Personality.personality, err = personalityOf(row, feelings)
	if out.Body.Personality.personality == nil {
		out.Body.Message = "No call was long enough to show anything"
	}
	return out, err
}

// kinds are the traits that have a group of their own.
var kinds = map[string]string{
	"formality": "style", "directness": "style", "detail_orientation": "style", "patience": "style", "technical_comfort": "style",
	"frustration_level": "emotion", "satisfaction_level": "emotion", "urgency_level": "emotion",
}

// personalityOf is how a caller talks; nil when nothing shows it.
func personalityOf(row store.ProfileOf, feelings []string) (*personality, error) {
	averages, err := averagesOf(row)
	if err != nil || len(averages) == 0 {
		return nil, err
	}
	p := &personality{
		CallCount: row.Calls, BigFive: map[string]float64{}, CommunicationStyle: map[string]float64{}, EmotionalState: map[string]float64{},
		Others: map[string]float64{}, Method: method,
	}
	for trait, a := range averages {
		p.Measured = max(p.Measured, a.N)
		group := p.Others
		switch kinds[trait] {
		case "style":
			group = p.CommunicationStyle
		case "emotion":
			group = p.EmotionalState
		}
		group[trait] = float64(a.Sum/a.N/10_000) / 100
	}
	p.Trends.Satisfaction = trend(feelings)
	return p, nil
}

func averagesOf(row store.ProfileOf) (map[string]store.Average, error) {
	averages := map[string]store.Average{}
	if row.Averages == nil {
		return averages, nil
	}
	err := json.Unmarshal(row.Averages, &averages)
	for trait, a := range averages {
		if a.N == 0 {
			delete(averages, trait)
		}
	}
	return averages, err
}

// trend compares the last three calls with those before.
func trend(feelings []string) string {
	const recent = 3
	if len(feelings) <= recent {
		return "stable"
	}
	worth := map[string]int{"positive": 1, "satisfied": 1, "negative": -1, "frustrated": -1}
	sum := func(of []string) (n int) {
		for _, f := range of {
			n += worth[f]
		}
		return n
	}
	before, after := feelings[:len(feelings)-recent], feelings[len(feelings)-recent:]
	// The difference of both means against a third, in whole numbers.
	change := 3 * (sum(after)*len(before) - sum(before)*recent)
	switch step := recent * len(before); {
	case change > step:
		return "improving"
	case change < -step:
		return "declining"
	}
	return "stable"
}

type moveLeadIn struct {
	Idempotency
	UserPath
	Body struct {
		CustomerBody
		Stage  string `json:"stage" enum:"First Contact,Follow-up,Quote Sent,Application,Underwriting,Closed/Bound,Lost"`
		By     string `json:"by,omitempty" nullable:"true" maxLength:"100" doc:"Who of your people moves it"`
		Reason string `json:"reason,omitempty" nullable:"true" maxLength:"500"`
	}
}

type leadOut struct {
	Body struct {
		Success     bool       `json:"success"`
		CustomerID  int32      `json:"customer_id"`
		UserID      string     `json:"user_id"`
		LeadStage   string     `json:"lead_stage"`
		LeadSince   *time.Time `json:"lead_since"`
		LeadHistory list       `json:"lead_history"`
	}
}

func (s *service) moveLead(ctx context.Context, who asker, in *moveLeadIn) (*leadOut, error) {
	user, _, err := s.someone(ctx, who, in.UserID)
	if err != nil {
		return nil, err
	}
	f := events.LeadStaged{Caller: user, Stage: in.Body.Stage, By: by(who, in.Body.By), Reason: plain(in.Body.Reason), Nth: nth(in.Key)}
	if err := s.stateAs(ctx, who, in.Key, user, events.New(who.tenant, "", s.now(), f)); err != nil {
		return nil, err
	}
	p, err := s.profile(ctx, who, user)
	if err != nil {
		return nil, err
	}
	out, now := &leadOut{}, p.Body.Profile
	out.Body.Success, out.Body.CustomerID, out.Body.UserID = true, int32(who.tenant), user
	out.Body.LeadStage, out.Body.LeadSince, out.Body.LeadHistory = now.LeadStage, now.LeadSince, now.LeadHistory
	return out, nil
}
