package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// tenant is the command of that name.
func tenant(ctx context.Context, fs *flag.FlagSet, args []string) error {
	verbs := map[string]func(context.Context, *flag.FlagSet, []string) error{
		"create": tenantCreate, "list": tenantList, "show": tenantShow, "set": tenantSet, "templates": tenantTemplates,
		"api-key": tenantKey, "api-keys": tenantKeys, "revoke-key": tenantRevoke,
		"suspend": func(ctx context.Context, fs *flag.FlagSet, args []string) error {
			return tenantStatus(ctx, fs, args, "suspended")
		},
		"resume": func(ctx context.Context, fs *flag.FlagSet, args []string) error {
			return tenantStatus(ctx, fs, args, "active")
		},
		"export-all": tenantExport, "import-all": tenantImport,
	}
	if len(args) == 0 {
		return wrongf("neurosphere tenant: want create, list, show, set, templates, api-key, api-keys, revoke-key, suspend, resume, export-all or import-all")
	}
	if args[0] == "-h" || args[0] == "--help" {
		fs.Usage()
		return flag.ErrHelp
	}
	run, ok := verbs[args[0]]
	if !ok {
		return wrongf("neurosphere tenant: there is no %q", args[0])
	}
	fs.Init("tenant "+args[0], flag.ContinueOnError)
	fs.Bool("json", true, "print JSON (always)")
	return run(ctx, fs, args[1:])
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func tenantCreate(ctx context.Context, fs *flag.FlagSet, args []string) error {
	name := fs.String("name", "", "name of the business")
	number := fs.String("number", "", "its phone number, +1…; several with commas")
	template := fs.String("template", "insurance_v1", "industry template")
	agent := fs.String("agent", "", "the receptionist's name")
	greeting := fs.String("greeting", "", "the first words; {business} {agent} {time_greeting} are filled in")
	smsTo := fs.String("sms-to", "", "numbers told about each call, with commas")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *name == "" || *number == "" {
		return wrongf("neurosphere tenant create: -name and -number are needed")
	}
	set := map[string]string{"numbers": *number, "sms_to": *smsTo, "agent": *agent, "greeting": *greeting}
	return onStore(ctx, func(r *reach, s *store.Store) error {
		made, key, err := createTenant(ctx, s, *name, *template, set)
		if err != nil {
			return err
		}
		if err := printJSON(map[string]any{"customer_id": made.Tenant, "api_key": key}); err != nil {
			return err
		}
		return goLive(ctx, r, s)
	})
}

// createTenant makes a tenant of a name and settings by their names.
func createTenant(ctx context.Context, s *store.Store, name, template string, set map[string]string) (events.Settings, string, error) {
	t, err := templateNamed(ctx, s, template)
	if err != nil {
		return events.Settings{}, "", err
	}
	want := settings.Default(name, t)
	for k, v := range set {
		if v == "" {
			continue
		}
		if err := settings.Set(&want, k, v); err != nil {
			return want, "", wrongf("%w", err)
		}
	}
	if err := settings.Check(want); err != nil {
		return want, "", wrongf("%w", err)
	}
	return s.CreateCustomer(ctx, want)
}

// goLive brings changes to the bus, where calls are answered from.
func goLive(ctx context.Context, r *reach, s *store.Store) error {
	b, err := r.bus(ctx)
	if err != nil {
		return fmt.Errorf("%w (%w)", errNotLive, err)
	}
	if err := settings.Publish(ctx, s, b); err != nil {
		return fmt.Errorf("%w (%w)", errNotLive, err)
	}
	return nil
}

func tenantList(ctx context.Context, fs *flag.FlagSet, args []string) error {
	if err := parse(fs, args); err != nil {
		return err
	}
	type row struct {
		ID      events.Tenant `json:"customer_id"`
		Name    string        `json:"name"`
		Status  string        `json:"status"`
		Agent   string        `json:"agent"`
		Numbers []string      `json:"numbers"`
	}
	return onStore(ctx, func(_ *reach, s *store.Store) error {
		all, err := s.ListCustomers(ctx)
		if err != nil {
			return err
		}
		rows := []row{}
		for _, t := range all {
			rows = append(rows, row{t.Tenant, t.Name, t.Status, t.Agent, t.Numbers})
		}
		return printJSON(rows)
	})
}

// which reads the ID after a verb, and what follows it.
func which(fs *flag.FlagSet, args []string) (events.Tenant, []string, error) {
	if err := parseFlags(fs, args); err != nil {
		return 0, nil, err
	}
	if fs.NArg() == 0 {
		return 0, nil, wrongf("neurosphere %s: which one? give its customer_id", fs.Name())
	}
	t, err := events.ParseTenant(fs.Arg(0))
	if err != nil {
		return 0, nil, wrongf("neurosphere %s: %q is no customer_id", fs.Name(), fs.Arg(0))
	}
	return t, fs.Args()[1:], nil
}

// only is which where nothing follows.
func only(fs *flag.FlagSet, args []string) (events.Tenant, error) {
	t, rest, err := which(fs, args)
	if err == nil {
		err = noMore(fs, rest)
	}
	return t, err
}

func tenantShow(ctx context.Context, fs *flag.FlagSet, args []string) error {
	t, err := only(fs, args)
	if err != nil {
		return err
	}
	return onTenant(ctx, t, func(_ *reach, s *store.Store) error {
		set, err := s.Settings(ctx, t)
		if err != nil {
			return err
		}
		return printJSON(set)
	})
}

func tenantSet(ctx context.Context, fs *flag.FlagSet, args []string) error {
	t, rest, err := which(fs, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return wrongf("neurosphere tenant set: want key=value…; keys are template %s", settings.Keys)
	}
	for _, kv := range rest {
		if !strings.Contains(kv, "=") {
			return wrongf("neurosphere tenant set: %q: want key=value", kv)
		}
	}
	return onTenant(ctx, t, func(r *reach, s *store.Store) error {
		templates := map[string]events.Template{}
		for _, kv := range rest {
			if id, ok := strings.CutPrefix(kv, "template="); ok {
				if templates[id], err = templateNamed(ctx, s, id); err != nil {
					return err
				}
			}
		}
		return change(ctx, r, s, t, func(set *events.Settings) error {
			for _, kv := range rest {
				k, v, _ := strings.Cut(kv, "=")
				if k == "template" {
					settings.SetTemplate(set, templates[v])
					continue
				}
				if err := settings.Set(set, k, v); err != nil {
					return wrongf("%w", err)
				}
			}
			return app.Wrong(settings.Check(*set))
		})
	})
}

// templateNamed is the industry template with that id.
func templateNamed(ctx context.Context, s *store.Store, id string) (events.Template, error) {
	t, err := s.Template(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = wrongf("template: there is no %q; see neurosphere tenant templates", id)
	}
	return t, err
}

// tenantTemplates prints the industry templates there are.
func tenantTemplates(ctx context.Context, fs *flag.FlagSet, args []string) error {
	if err := parse(fs, args); err != nil {
		return err
	}
	return onStore(ctx, func(_ *reach, s *store.Store) error {
		all, err := s.ListTemplates(ctx)
		if err != nil {
			return err
		}
		return printJSON(all)
	})
}

func tenantStatus(ctx context.Context, fs *flag.FlagSet, args []string, status string) error {
	t, err := only(fs, args)
	if err != nil {
		return err
	}
	return onTenant(ctx, t, func(r *reach, s *store.Store) error {
		return change(ctx, r, s, t, func(set *events.Settings) error { set.Status = status; return nil })
	})
}

func change(ctx context.Context, r *reach, s *store.Store, t events.Tenant, f func(*events.Settings) error) error {
	before, after, err := s.UpdateSettings(ctx, t, f)
	if err != nil {
		return err
	}
	if err := printJSON(map[string]any{"customer_id": t, "version": after.Version, "changed": settings.Changed(before, after)}); err != nil {
		return err
	}
	return goLive(ctx, r, s)
}
