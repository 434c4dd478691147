package ingress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	setupWait    = 10 * time.Second
	connectWait  = 3 * time.Second // from TwiML to socket; Twilio takes well under one
	writeTimeout = 5 * time.Second
	maxBadFrames = 10 // in a row; as Twilio does with ours
)

// A socket is one ConversationRelay connection.
type socket struct {
	conn *websocket.Conn
	mu   sync.Mutex
	buf  []byte // of the frame being written
}

// say sends words; the last of an utterance may be empty.
func (s *socket) say(t twilio.Text) error {
	return s.write(func(b []byte) []byte { return twilio.AppendText(b, t) })
}

// end asks Twilio to end the session and to tell action what for.
func (s *socket) end(handoff string) error {
	return s.write(func(b []byte) []byte { return twilio.AppendEnd(b, twilio.End{HandoffData: handoff}) })
}

func (s *socket) write(frame func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = frame(s.buf[:0])
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, s.buf)
}

// close waits for nobody: the other side of a lost socket says good-bye never.
func (s *socket) close() { go func() { _ = s.conn.Close(websocket.StatusNormalClosure, "") }() }

// restart tells Twilio that the process goes away and the call does not.
func (s *socket) restart() { _ = s.conn.Close(websocket.StatusServiceRestart, "") }

// relay is GET /twilio/relay: the socket of one call, for as long as it lives.
func (w *worker) relay(rw http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		rw.Header().Set("Allow", http.MethodGet)
		http.Error(rw, "GET only", http.StatusMethodNotAllowed)
		return
	}
	if !w.verifier.Socket(w.publicURL, r) {
		w.reject(rw, "relay", "signature")
		return
	}
	conn, err := websocket.Accept(lean{rw}, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // no browser: the signature is the check
	if err != nil {
		w.metrics.rejected.WithLabelValues("relay", "upgrade").Inc()
		return
	}
	conn.SetReadLimit(twilio.MaxFrame)
	s := &socket{conn: conn}
	c, err := w.setup(r.Context(), s)
	if err != nil {
		w.metrics.rejected.WithLabelValues("relay", "setup").Inc()
		w.log.Info("socket refused", zap.Error(err))
		_ = conn.Close(websocket.StatusPolicyViolation, "no such call")
		return
	}
	// What the request needed is let go here: the socket may be open for hours.
	go w.listen(c, s)
}

// listen hands a socket's frames to its call, and its end.
func (w *worker) listen(c *call, s *socket) {
	defer s.close()
	err := w.read(c, s)
	status := websocket.CloseStatus(err)
	clean := status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway || status == websocket.StatusNoStatusRcvd
	c.post(closed{sock: s, clean: clean})
}

// lean gives a socket buffers of the size of a frame: there are thousands of
// sockets, and most are silent most of the time.
type lean struct{ http.ResponseWriter }

const frameBuffer = 1 << 10 // bytes; larger frames take several reads

// Hijack is http.Hijacker's.
func (l lean) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(l.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, err := rw.Peek(rw.Reader.Buffered()) // came with the request
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn), max(frameBuffer, len(early)))
	if _, err := in.Peek(len(early)); err != nil { // who accepts the socket takes over what is buffered, and no more
		return nil, nil, err
	}
	return conn, bufio.NewReadWriter(in, bufio.NewWriterSize(conn, frameBuffer)), nil
}

// setup reads the first frame, which says whose socket this is.
func (w *worker) setup(ctx context.Context, s *socket) (*call, error) {
	ctx, cancel := context.WithTimeout(ctx, setupWait)
	defer cancel()
	kind, raw, err := s.conn.Read(ctx)
	if err != nil {
		return nil, errors.New("no setup frame came")
	}
	if kind != websocket.MessageText {
		return nil, errors.New("first frame is binary")
	}
	f, err := twilio.ParseFrame(raw)
	if err != nil {
		return nil, err
	}
	setup, ok := f.(twilio.Setup)
	if !ok {
		return nil, errors.New("first frame is not setup")
	}
	c, err := w.callOf(ctx, setup)
	if err != nil {
		return nil, err
	}
	if !c.post(opened{sock: s, setup: setup}) {
		return nil, errors.New("call is over")
	}
	return c, nil
}

// read hands every frame to the call until the socket ends.
func (w *worker) read(c *call, s *socket) error {
	bad := 0
	for {
		kind, raw, err := s.conn.Read(w.life)
		if err != nil {
			return err
		}
		var f twilio.Frame
		if kind == websocket.MessageText {
			f, err = twilio.ParseFrame(raw)
		} else {
			err = errors.New("binary frame")
		}
		if err != nil {
			w.metrics.badFrames.Inc()
			if bad++; bad >= maxBadFrames {
				_ = s.conn.Close(websocket.StatusInvalidFramePayloadData, "too many malformed messages")
				return err
			}
			continue
		}
		bad = 0
		if !c.post(framed{sock: s, frame: f}) {
			return errors.New("call is over")
		}
	}
}
