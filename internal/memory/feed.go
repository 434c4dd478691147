package memory

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
)

const (
	feedCursor   = "events"
	feedBeat     = 15 * time.Second // of a feed that is followed, while nothing comes
	feedWrite    = 30 * time.Second // how long a reader may take for one line
	feedsPerOne  = 8                // followed at a time, of one customer
	feedsInTotal = 200              // of all, in this process

	jsonLines = "application/x-ndjson"
	eventsSSE = "text/event-stream"
)

func (s *service) feedRoutes(a *api) {
	text := func(about string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: about}}
	}
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/events", OperationID: "read-events", Summary: "The customer's own events, oldest first, from a cursor on",
		Description: "One CloudEvent (structured JSON) a line, each with a cursor from which to go on after it; schemas are at /schemas/. " +
			"With follow=true the answer goes on as events come; an empty line, or a comment of server-sent events, says that there were none for a while.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			jsonLines: text("JSON lines"), eventsSSE: text("Server-sent events: id is the cursor, event the type"),
		}}},
	}, s.readEvents)
}

type readEventsIn struct {
	CustomerQuery
	After  string `query:"after" maxLength:"1000" doc:"Cursor of the last event read; absent: from the oldest there is"`
	Last   string `header:"Last-Event-ID" maxLength:"1000" doc:"The same, as browsers send it"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most, where they are not followed"`
	Follow bool   `query:"follow" doc:"Go on as events come"`
	Accept string `header:"Accept" doc:"text/event-stream for server-sent events, else JSON lines"`
}

// place is where a feed goes on. It names the event there, so that it is known
// when the stream is another one.
type place struct {
	Seq     uint64    `json:"s"`
	Event   string    `json:"e"`
	Created time.Time `json:"c"`
}

type streamOut struct{ Body func(huma.Context) }

func (s *service) readEvents(ctx context.Context, who asker, in *readEventsIn) (*streamOut, error) {
	created, err := s.streamCreated(ctx)
	if err != nil {
		return nil, err
	}
	after, err := s.from(ctx, who, in, created)
	if err != nil {
		return nil, err
	}
	f := &feed{s: s, who: who, created: created, sse: strings.Contains(in.Accept, eventsSSE)}
	if in.Follow {
		done, err := s.feeds.add(who.tenant)
		if err != nil {
			return nil, err
		}
		return &streamOut{func(c huma.Context) { defer done(); f.follow(c, after) }}, nil
	}
	page, err := s.bus.Feed(ctx, who.tenant, after, in.Limit)
	if err != nil {
		return nil, err
	}
	return &streamOut{func(c huma.Context) { f.page(c, page) }}, nil
}

// from is the sequence after which to go on.
func (s *service) from(ctx context.Context, who asker, in *readEventsIn, created time.Time) (uint64, error) {
	where, cursor := "query.after", in.After
	if in.Last != "" {
		where, cursor = "header.Last-Event-ID", in.Last
	}
	var at place
	there, err := s.open(who.tenant, feedCursor, cursor, &at)
	if err != nil {
		return 0, badCursor(where)
	}
	if !there {
		return 0, nil
	}
	holds := at.Created.Equal(created)
	if holds {
		if holds, err = s.bus.Holds(ctx, at.Seq, at.Event); err != nil {
			return 0, err
		}
	}
	if !holds {
		return 0, fail(http.StatusGone, "the events after this cursor are not there any more; begin anew without one")
	}
	return at.Seq, nil
}

// feed is one answer to a reader of events.
type feed struct {
	s       *service
	who     asker
	created time.Time
	sse     bool
	r       *http.Request
	w       http.ResponseWriter
	checked time.Time // when the key was good last
}

func (f *feed) begin(c huma.Context) {
	f.r, f.w = humago.Unwrap(c)
	f.checked = f.s.now()
	kind := jsonLines
	if f.sse {
		kind = eventsSSE
	}
	f.w.Header().Set("Content-Type", kind)
	f.w.Header().Set("Cache-Control", "no-store")
	f.w.Header().Set("X-Accel-Buffering", "no")
	f.w.WriteHeader(http.StatusOK)
}

func (f *feed) page(c huma.Context, page []bus.Told) {
	f.begin(c)
	defer f.end()
	for _, t := range page {
		if f.tell(t) != nil {
			return // gone; whoever reads on has a cursor
		}
	}
}

// tell writes one event.
func (f *feed) tell(t bus.Told) error {
	cursor, err := f.s.seal(f.who.tenant, feedCursor, place{t.Seq, t.ID, f.created})
	if err != nil {
		return err
	}
	raw, err := t.JSON(cursor)
	if err != nil {
		return err
	}
	line := string(raw) + "\n"
	if f.sse {
		line = "id: " + cursor + "\nevent: " + t.Type + "\ndata: " + line + "\n"
	}
	return f.write(line)
}

func (f *feed) write(line string) error {
	_ = http.NewResponseController(f.w).SetWriteDeadline(time.Now().Add(feedWrite)) // a recorder of a test has none
	_, err := io.WriteString(f.w, line)
	return err
}

// end lets the connection's next answer take its time.
func (f *feed) end() { _ = http.NewResponseController(f.w).SetWriteDeadline(time.Time{}) }

var errNotAllowed = errors.New("the key is not good any more")

// follow goes on until its reader, the key or this process goes.
func (f *feed) follow(c huma.Context, after uint64) {
	f.begin(c)
	defer f.end()
	ctx, stop := context.WithCancel(f.r.Context())
	defer stop()
	defer context.AfterFunc(f.s.running, stop)()
	if a, ok := f.w.(*answer); ok {
		a.endless = true
	}
	flush := func() error { return http.NewResponseController(f.w).Flush() }
	allowed := func() error {
		if f.s.now().Sub(f.checked) < f.s.beat {
			return nil
		}
		f.checked = f.s.now()
		if !f.s.guard.again(f.r, f.who) {
			return errNotAllowed
		}
		return nil
	}
	idle := "\n"
	if f.sse {
		idle = ": nothing new\n\n"
	}
	if flush() != nil {
		return
	}
	_ = f.s.bus.FollowFeed(ctx, f.who.tenant, after, f.s.beat, func(t bus.Told) error {
		return errors.Join(allowed(), f.tell(t), flush())
	}, func() error {
		if err := allowed(); err != nil {
			return err
		}
		return errors.Join(f.write(idle), flush())
	})
}

// counted bounds how many feeds are followed.
type counted struct {
	mu  sync.Mutex
	of  map[events.Tenant]int
	all int
}

func (c *counted) add(t events.Tenant) (done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= feedsInTotal || c.of[t] >= feedsPerOne {
		return nil, fail(http.StatusTooManyRequests, "too many feeds are followed already")
	}
	if c.of == nil {
		c.of = map[events.Tenant]int{}
	}
	c.all++
	c.of[t]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.of[t]--; c.of[t] == 0 {
			delete(c.of, t)
		}
	}, nil
}
