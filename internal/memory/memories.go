package memory

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// memory is one thing remembered about a caller.
type memory struct {
	ID         string     `json:"id"`
	CustomerID int32      `json:"customer_id"`
	UserID     string     `json:"user_id"`
	Type       string     `json:"type"`
	Key        string     `json:"key"`
	Value      any        `json:"value"`
	Content    string     `json:"content"`
	CreatedAt  time.Time  `json:"created_at"`
	Origin     string     `json:"origin" doc:"Who said it: call, api, staff or import"`
	CallID     string     `json:"call_id,omitempty"`
	Turn       int        `json:"turn,omitempty"`
	Evidence   string     `json:"evidence,omitempty" doc:"The words it rests on"`
	Subject    string     `json:"subject,omitempty" doc:"Whom it is about, where a call led to it"`
	By         string     `json:"by,omitempty" doc:"Who of your people said it, or which key"`
	LastSaidAt time.Time  `json:"last_said_at"`
	Times      int        `json:"times" doc:"Calls it was said in"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	Shared     bool       `json:"shared,omitempty" doc:"It is of the customer as a whole, and of no caller"`
	Sealed     bool       `json:"sealed,omitempty" doc:"The value is a mark for a number that is kept sealed: get-memory opens it"`
}

func shown(who asker, m store.MemoryOf) memory {
	return memory{
		ID: m.ID, CustomerID: int32(who.tenant), UserID: named(m.User), Shared: m.User == events.Shared, Type: m.Type, Key: m.Key, Value: value(m.Origin, m.Value), Content: m.Content,
		CreatedAt: m.Created.UTC(), Origin: m.Origin, CallID: m.Call, Turn: m.Turn, Evidence: m.Evidence, Subject: m.Subject, By: m.By, LastSaidAt: m.LastSaid.UTC(), Times: m.Times, ExpiresAt: utc(m.Expires), Sealed: m.Sealed != "",
	}
}

// value is a memory's value: what came by API is JSON, what a call led to text.
func value(origin, v string) any {
	if origin != "call" && v != "null" && json.Valid([]byte(v)) {
		return json.RawMessage(v)
	}
	return v
}

type memoryPage struct {
	CustomerID int32    `json:"customer_id"`
	UserID     string   `json:"user_id,omitempty"`
	Memories   []memory `json:"memories"`
	Count      int      `json:"count" doc:"Of this page"`
	NextCursor string   `json:"next_cursor,omitempty" doc:"For the next page; absent on the last one, and where a query is given"`
}

type memoryPageOut struct{ Body memoryPage }

func (s *service) memoryRoutes(a *api) {
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/memories", OperationID: "list-memories", Summary: "Memories, newest first; with a query, those that say most about it, best first",
	}, s.listMemories)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/memories/user/{user_id}", OperationID: "list-user-memories", Summary: "One caller's memories",
	}, s.listUserMemories)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v1/memories", OperationID: "store-memory", Summary: "Remember something about a caller", DefaultStatus: http.StatusCreated,
	}, s.storeMemory)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v1/memories/user", OperationID: "store-user-memory", Summary: "As POST /v1/memories", DefaultStatus: http.StatusCreated,
	}, s.storeUserMemory)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/memories/shared", OperationID: "list-shared-memories", Summary: "Memories of the customer as a whole, which are no caller's",
	}, s.listSharedMemories)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v1/memories/shared", OperationID: "store-shared-memory", Summary: "Remember something about the customer as a whole", DefaultStatus: http.StatusCreated,
	}, s.storeSharedMemory)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/memories/{id}", OperationID: "get-memory", Summary: "One memory; its sealed value, if it has one, where that is asked for",
	}, s.getMemory)
	route(a, huma.Operation{
		Method: http.MethodDelete, Path: "/v1/memories/{id}", OperationID: "forget-memory", Summary: "Forget one memory, whoever said it",
	}, s.forgetMemory)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/memory/store", OperationID: "legacy-store", Summary: "Remember one line of a conversation", Tags: []string{"legacy"},
	}, s.legacyStore)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/memory/retrieve", OperationID: "legacy-retrieve", Summary: "The lines of conversations with a caller, newest first", Tags: []string{"legacy"},
	}, s.legacyRetrieve)
}

type listMemoriesIn struct {
	CustomerQuery
	PageQuery
	UserID string `query:"user_id" maxLength:"220" doc:"One caller's only"`
	Type   string `query:"memory_type" maxLength:"64" doc:"Of one type only"`
	Query  string `query:"query" maxLength:"500" doc:"What they should say something about; any word counts"`
}

func (s *service) listMemories(ctx context.Context, who asker, in *listMemoriesIn) (*memoryPageOut, error) {
	user, err := maybeCaller("query.user_id", in.UserID)
	if err != nil {
		return nil, err
	}
	return s.memories(ctx, who, store.MemoriesAsked{User: user, Type: plain(in.Type), Limit: in.Limit}, in.Query, in.Cursor)
}

type listUserMemoriesIn struct {
	CustomerQuery
	PageQuery
	UserPath
	Query  string `query:"query" maxLength:"500" doc:"What they should say something about; any word counts"`
	Shared bool   `query:"include_shared" doc:"Those of the customer as a whole, too"`
}

func (s *service) listUserMemories(ctx context.Context, who asker, in *listUserMemoriesIn) (*memoryPageOut, error) {
	user, err := caller("path.user_id", in.UserID)
	if err != nil {
		return nil, err
	}
	return s.memories(ctx, who, store.MemoriesAsked{User: user, Shared: in.Shared, Limit: in.Limit}, in.Query, in.Cursor)
}

type listSharedMemoriesIn struct {
	CustomerQuery
	PageQuery
	Type  string `query:"memory_type" maxLength:"64" doc:"Of one type only"`
	Query string `query:"query" maxLength:"500" doc:"What they should say something about; any word counts"`
}

func (s *service) listSharedMemories(ctx context.Context, who asker, in *listSharedMemoriesIn) (*memoryPageOut, error) {
	return s.memories(ctx, who, store.MemoriesAsked{User: events.Shared, Type: plain(in.Type), Limit: in.Limit}, in.Query, in.Cursor)
}

// memories is a page of memories, or the answer to a question.
func (s *service) memories(ctx context.Context, who asker, ask store.MemoriesAsked, question, cursor string) (*memoryPageOut, error) {
	list := strings.Join([]string{"memories", ask.User, ask.Type, strconv.FormatBool(ask.Shared)}, "/")
	var after store.Place
	there, err := s.open(who.tenant, list, cursor, &after)
	if err != nil {
		return nil, err
	}
	if there {
		ask.After = &after
	}
	var rows []store.MemoryOf
	limit := ask.Limit
	if strings.TrimSpace(question) != "" {
		rows, err = who.rows.SearchMemories(ctx, ask, plain(question))
	} else {
		ask.Limit++
		rows, err = who.rows.Memories(ctx, ask)
	}
	if err != nil {
		return nil, err
	}
	out := &memoryPageOut{memoryPage{CustomerID: int32(who.tenant), UserID: named(ask.User), Memories: []memory{}}}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		if out.Body.NextCursor, err = s.seal(who.tenant, list, store.Place{At: last.Created, ID: last.ID}); err != nil {
			return nil, err
		}
	}
	for _, m := range rows {
		out.Body.Memories = append(out.Body.Memories, shown(who, m))
	}
	out.Body.Count = len(rows)
	return out, nil
}

// named is a caller as answers name them: what is shared is nobody's.
func named(user string) string {
	if user == events.Shared {
		return ""
	}
	return user
}

// Told is what is to be remembered.
type Told struct {
	Type    string `json:"type" minLength:"1" maxLength:"64" doc:"As in person, preference, project, rule, moment or fact" example:"preference"`
	Key     string `json:"key" minLength:"1" maxLength:"200" example:"contact_time"`
	Value   any    `json:"value" doc:"Any JSON but null"`
	Content string `json:"content,omitempty" nullable:"true" maxLength:"8000" doc:"The same in words, where the value alone is not readable"`
	By      string `json:"by,omitempty" nullable:"true" maxLength:"100" doc:"Who of your people said so"`
	TTLDays int    `json:"ttl_days,omitempty" nullable:"true" minimum:"1" maximum:"36500" doc:"When to stop using it; absent: never"`
}

// Idempotency is for whoever cannot tell whether a request arrived.
type Idempotency struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"Whatever is said twice with the same key is said once"`
}

type stored struct {
	Success  bool   `json:"success"`
	ID       string `json:"id"`
	MemoryID string `json:"memory_id"`
	UserID   string `json:"user_id,omitempty"`
	Message  string `json:"message"`
}

type storedOut struct{ Body stored }

type storeMemoryIn struct {
	Idempotency
	Body struct {
		CustomerBody
		UserID string `json:"user_id" maxLength:"220" doc:"The caller's number in E.164" example:"+12065550142"`
		Told
	}
}

func (s *service) storeMemory(ctx context.Context, who asker, in *storeMemoryIn) (*storedOut, error) {
	return s.remember(ctx, who, in.Body.UserID, in.Key, in.Body.Told)
}

type storeUserMemoryIn struct {
	Idempotency
	UserID string `query:"user_id" maxLength:"220" doc:"The caller's number, unless the body has it"`
	Body   struct {
		CustomerBody
		UserID string `json:"user_id,omitempty" maxLength:"220" doc:"The caller's number in E.164"`
		Told
	}
}

func (s *service) storeUserMemory(ctx context.Context, who asker, in *storeUserMemoryIn) (*storedOut, error) {
	user := in.Body.UserID
	if user == "" {
		user = in.UserID
	}
	return s.remember(ctx, who, user, in.Key, in.Body.Told)
}

type storeSharedMemoryIn struct {
	Idempotency
	Body struct {
		CustomerBody
		Told
	}
}

func (s *service) storeSharedMemory(ctx context.Context, who asker, in *storeSharedMemoryIn) (*storedOut, error) {
	return s.rememberOf(ctx, who, events.Shared, in.Key, in.Body.Told)
}

// remember states one memory of a caller.
func (s *service) remember(ctx context.Context, who asker, userID, key string, t Told) (*storedOut, error) {
	user, err := caller("body.user_id", userID)
	if err != nil {
		return nil, err
	}
	return s.rememberOf(ctx, who, user, key, t)
}

// rememberOf states one memory. With an idempotency key its id derives from that.
func (s *service) rememberOf(ctx context.Context, who asker, user, key string, t Told) (*storedOut, error) {
	text, err := jsonText(t.Value)
	if err != nil {
		return nil, err
	}
	f := events.MemoryStored{
		Memory: uuid.NewString(), Caller: user, Type: plain(t.Type), Key: plain(t.Key), Value: text, Content: plain(t.Content), Origin: "api", By: by(who, t.By),
	}
	now := s.now()
	if t.TTLDays > 0 {
		at := now.AddDate(0, 0, t.TTLDays).UTC().Truncate(time.Second)
		f.Expires = &at
	}
	if key != "" {
		f.Memory = events.Derive("memory", who.tenant.String(), user, key)
	}
	if err := s.stateAs(ctx, who, key, user, events.New(who.tenant, "", now, f)); err != nil {
		return nil, err
	}
	return s.remembered(f), nil
}

func (s *service) remembered(f events.MemoryStored) *storedOut {
	return &storedOut{stored{Success: true, ID: f.Memory, MemoryID: f.Memory, UserID: named(f.Caller), Message: "Memory stored: " + f.Type + ":" + f.Key}}
}

// by is who states something: one of the tenant's people, or a key.
func by(who asker, person string) string {
	if person = strings.TrimSpace(person); person != "" {
		return "staff:" + plain(person)
	}
	return "api:" + who.key
}

// maxValue is how long a value may be, as JSON: as much as a fact takes.
const maxValue = 16_000

// jsonText is a value as JSON in its shortest form.
func jsonText(v any) (string, error) {
	if v == nil {
		return "", invalid("body.value", "want a value; null is none")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil || b.Len()-len("\n") > maxValue {
		return "", invalid("body.value", "want at most %d bytes of JSON", maxValue)
	}
	return plain(strings.TrimSpace(b.String())), nil
}

type getMemoryIn struct {
	CustomerQuery
	ID     string `path:"id" maxLength:"100"`
	Reveal bool   `query:"reveal" doc:"Open a value that is kept sealed, such as a policy number"`
}

type memoryOut struct{ Body memory }

// getMemory is one memory. What was left out of the caller's words is shown to
// whoever asks for it by name, and that is noted.
func (s *service) getMemory(ctx context.Context, who asker, in *getMemoryIn) (*memoryOut, error) {
	m, err := who.rows.Memory(ctx, plain(in.ID))
	if err != nil {
		return nil, err
	}
	if m.Expires != nil && !m.Expires.After(s.now()) {
		return nil, notFound() // as lists have it
	}
	out := &memoryOut{shown(who, m)}
	if !in.Reveal || m.Sealed == "" {
		return out, nil
	}
	sealed, err := base64.StdEncoding.DecodeString(m.Sealed)
	if err != nil {
		return nil, vault.ErrSealed
	}
	text, err := s.vault.Open(who.tenant, mask.Purpose, sealed)
	if err != nil {
		return nil, err
	}
	s.log.Info("sealed value opened", zap.Stringer("tenant", who.tenant), zap.String("key_id", who.key), zap.String("memory", m.ID))
	out.Body.Value, out.Body.Content = text, text
	return out, nil
}

type forgetMemoryIn struct {
	CustomerQuery
	ID string `path:"id" maxLength:"100"`
}

type messageOut struct {
	Body struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}
}

func (s *service) forgetMemory(ctx context.Context, who asker, in *forgetMemoryIn) (*messageOut, error) {
	m, err := who.rows.Memory(ctx, plain(in.ID))
	if err != nil {
		return nil, err
	}
	e := events.New(who.tenant, "", s.now(), events.MemoryForgotten{Memory: m.ID, Caller: m.User, By: by(who, "")})
	if err := s.state(ctx, who, e); err != nil {
		return nil, err
	}
	out := &messageOut{}
	out.Body.Success, out.Body.Message = true, "Memory forgotten"
	return out, nil
}

// conversation is the type of what POST /memory/store keeps.
const conversation = "conversation"

type legacyStoreIn struct {
	Body struct {
		CustomerBody
		UserID   string         `json:"user_id" maxLength:"220"`
		Role     string         `json:"role" minLength:"1" maxLength:"64"`
		Content  string         `json:"content" minLength:"1" maxLength:"8000"`
		ThreadID string         `json:"thread_id,omitempty" nullable:"true" maxLength:"200"`
		Metadata map[string]any `json:"metadata,omitempty"`
	}
}

func (s *service) legacyStore(ctx context.Context, who asker, in *legacyStoreIn) (*storedOut, error) {
	b := in.Body
	thread, _ := b.Metadata["thread_id"].(string)
	if b.ThreadID != "" {
		thread = b.ThreadID
	}
	if len(thread) > 200 {
		return nil, invalid("body.metadata.thread_id", "want at most 200 bytes")
	}
	if thread == "" {
		thread = conversation
	}
	v := map[string]any{"role": b.Role}
	if len(b.Metadata) > 0 {
		v["metadata"] = b.Metadata
	}
	return s.remember(ctx, who, b.UserID, "", Told{Type: conversation, Key: thread, Value: v, Content: alone(b.Content)})
}

type legacyRetrieveIn struct {
	Body struct {
		CustomerBody
		UserID   string `json:"user_id" maxLength:"220"`
		Limit    int    `json:"limit,omitempty" nullable:"true" minimum:"1" maximum:"500" default:"200"`
		ThreadID string `json:"thread_id,omitempty" nullable:"true" maxLength:"200"`
	}
}

type legacyPageOut struct {
	Body struct {
		Success    bool     `json:"success"`
		CustomerID int32    `json:"customer_id"`
		UserID     string   `json:"user_id"`
		Memories   []memory `json:"memories"`
		Count      int      `json:"count"`
	}
}

func (s *service) legacyRetrieve(ctx context.Context, who asker, in *legacyRetrieveIn) (*legacyPageOut, error) {
	user, err := caller("body.user_id", in.Body.UserID)
	if err != nil {
		return nil, err
	}
	rows, err := who.rows.Memories(ctx, store.MemoriesAsked{User: user, Type: conversation, Key: plain(in.Body.ThreadID), Limit: in.Body.Limit})
	if err != nil {
		return nil, err
	}
	out := &legacyPageOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.UserID, out.Body.Memories = true, int32(who.tenant), user, []memory{}
	for _, m := range rows {
		out.Body.Memories = append(out.Body.Memories, shown(who, m))
	}
	out.Body.Count = len(rows)
	return out, nil
}
