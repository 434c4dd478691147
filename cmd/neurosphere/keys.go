package main

import (
	"context"
	"flag"
	"strconv"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// keyFlags are what a new key is made with.
func keyFlags(fs *flag.FlagSet) func() (store.KeyOptions, error) {
	name := fs.String("name", "operator", "what the key is for")
	expires := fs.String("expires", "", "how long it is good, as in 90d or 12h; empty: until it is revoked")
	limit := fs.Int("limit", store.DefaultPerMinute, "requests a minute; 0: no limit")
	return func() (o store.KeyOptions, err error) {
		o = store.KeyOptions{Name: *name, PerMinute: *limit}
		if *name == "" || len(*name) > 100 {
			return o, wrongf("-name: want 1 to 100 bytes")
		}
		if *limit < 0 || *limit > 1_000_000 {
			return o, wrongf("-limit: want 0 to 1000000, got %d", *limit)
		}
		if *expires == "" {
			return o, nil
		}
		d, err := days(*expires)
		if err != nil || d <= 0 {
			return o, wrongf("-expires: want a time such as 90d or 12h, got %q", *expires)
		}
		at := time.Now().Add(d).UTC().Truncate(time.Second)
		o.Expires = &at
		return o, nil
	}
}

// days is time.ParseDuration that knows days besides.
func days(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		d, err := strconv.ParseUint(n, 10, 16)
		return time.Duration(d) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func tenantKey(ctx context.Context, fs *flag.FlagSet, args []string) error {
	options := keyFlags(fs)
	t, err := only(fs, flagsFirst(args))
	if err != nil {
		return err
	}
	o, err := options()
	if err != nil {
		return err
	}
	return onTenant(ctx, t, func(_ *reach, s *store.Store) error {
		k, key, err := s.NewAPIKey(ctx, t, o)
		if err != nil {
			return err
		}
		return printJSON(map[string]any{"customer_id": t, "api_key": key, "key_id": k.ID, "name": k.Name, "expires_at": k.Expires, "per_minute": k.PerMinute})
	})
}

// flagsFirst lets flags follow the ID they are about, as in "3 -name crm".
func flagsFirst(args []string) []string {
	if len(args) > 1 && !strings.HasPrefix(args[0], "-") && strings.HasPrefix(args[1], "-") {
		return append(append([]string{}, args[1:]...), args[0])
	}
	return args
}

func tenantKeys(ctx context.Context, fs *flag.FlagSet, args []string) error {
	t, err := only(fs, args)
	if err != nil {
		return err
	}
	return onTenant(ctx, t, func(_ *reach, s *store.Store) error {
		all, err := s.APIKeys(ctx, t)
		if err != nil {
			return err
		}
		return printJSON(all)
	})
}

func tenantRevoke(ctx context.Context, fs *flag.FlagSet, args []string) error {
	t, rest, err := which(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return wrongf("neurosphere tenant revoke-key: want ID KEYID; api-keys lists them")
	}
	return onTenant(ctx, t, func(_ *reach, s *store.Store) error {
		if err := s.RevokeAPIKey(ctx, t, rest[0]); err != nil {
			return err
		}
		return revoked(t, rest[0])
	})
}

func revoked(t events.Tenant, id string) error {
	out := map[string]any{"key_id": id, "revoked": true}
	if t.Valid() {
		out["customer_id"] = t
	}
	return printJSON(out)
}

// platformKey is the command of that name.
func platformKey(ctx context.Context, fs *flag.FlagSet, args []string) error {
	if len(args) == 0 {
		return wrongf("neurosphere platform-key: want create, list or revoke")
	}
	verb := args[0]
	if verb == "-h" || verb == "--help" {
		fs.Usage()
		return flag.ErrHelp
	}
	fs.Init("platform-key "+verb, flag.ContinueOnError)
	fs.Bool("json", true, "print JSON (always)")
	switch verb {
	case "create":
		return platformKeyCreate(ctx, fs, args[1:])
	case "list":
		if err := parse(fs, args[1:]); err != nil {
			return err
		}
		return onStore(ctx, func(_ *reach, s *store.Store) error {
			all, err := s.PlatformKeys(ctx)
			if err != nil {
				return err
			}
			return printJSON(all)
		})
	case "revoke":
		if err := parseFlags(fs, args[1:]); err != nil {
			return err
		}
		if fs.NArg() != 1 {
			return wrongf("neurosphere platform-key revoke: want KEYID; list shows them")
		}
		return onStore(ctx, func(_ *reach, s *store.Store) error {
			if err := s.RevokePlatformKey(ctx, fs.Arg(0)); err != nil {
				return err
			}
			return revoked(0, fs.Arg(0))
		})
	}
	return wrongf("neurosphere platform-key: there is no %q", verb)
}

func platformKeyCreate(ctx context.Context, fs *flag.FlagSet, args []string) error {
	options := keyFlags(fs)
	if err := parse(fs, args); err != nil {
		return err
	}
	o, err := options()
	if err != nil {
		return err
	}
	return onStore(ctx, func(_ *reach, s *store.Store) error {
		k, key, err := s.NewPlatformKey(ctx, o)
		if err != nil {
			return err
		}
		return printJSON(map[string]any{"api_key": key, "key_id": k.ID, "name": k.Name, "expires_at": k.Expires, "per_minute": k.PerMinute})
	})
}
