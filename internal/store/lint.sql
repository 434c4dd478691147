-- Every way in which a role, table, view or function could let one tenant see
-- another's rows. No row is the only good answer. $1 is the application's role,
-- $2 the tables that are the platform's own, $3 the table of migrations, which
-- the application may read. What belongs to the system or to an extension
-- holds no rows of ours.
WITH roles AS (SELECT oid, rolname, rolname = $1 AS app FROM pg_roles WHERE rolname IN ($1, 'app_platform')),
spaces AS (SELECT oid, nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'),
rel AS (
  SELECT c.oid, c.relname, c.relkind AS kind, c.relowner, c.relrowsecurity AS rls, c.relforcerowsecurity AS forced, c.reloptions, s.nspname,
    CASE s.nspname WHEN 'app' THEN c.relname ELSE s.nspname || '.' || c.relname END AS name
  FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')),
tbl AS (SELECT * FROM rel WHERE nspname IN ('app', 'rebuild') AND kind IN ('r', 'p', 'f') AND NOT relname = ANY ($2::text[])),
cid AS (SELECT attrelid, attnum, attnotnull, atthasdef FROM pg_attribute WHERE attname = 'customer_id' AND NOT attisdropped),
guard AS (SELECT '(customer_id = (current_setting(''app.customer_id''::text))::integer)'::text AS expr),
-- Who may do what to which, columns included; nothing counts in a schema that cannot be entered.
may AS (
  SELECT r.rolname, r.app, rel.oid, rel.nspname, rel.relname, rel.name, rel.kind, p.act
  FROM roles r CROSS JOIN rel JOIN spaces s ON s.nspname = rel.nspname
    CROSS JOIN unnest(ARRAY['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) AS p(act)
  WHERE has_schema_privilege(r.oid, s.oid, 'usage') AND (has_table_privilege(r.oid, rel.oid, p.act)
    OR p.act IN ('select', 'insert', 'update', 'references') AND has_any_column_privilege(r.oid, rel.oid, p.act)))

-- Tables.
SELECT 'no customer_id' AS rule, name::text AS object FROM tbl WHERE NOT EXISTS (SELECT FROM cid WHERE attrelid = tbl.oid)
UNION ALL SELECT 'customer_id may be null', name FROM tbl JOIN cid ON attrelid = tbl.oid WHERE NOT attnotnull
UNION ALL SELECT 'customer_id has a default', name FROM tbl JOIN cid ON attrelid = tbl.oid WHERE atthasdef
UNION ALL SELECT 'row security is off', name FROM tbl WHERE NOT rls
UNION ALL SELECT 'row security is not forced', name FROM tbl WHERE NOT forced
UNION ALL SELECT 'no restrictive tenant guard', name FROM tbl, guard WHERE NOT EXISTS (
  SELECT FROM pg_policy p WHERE p.polrelid = tbl.oid AND NOT p.polpermissive AND p.polcmd = '*'
    AND (p.polroles = '{0}' OR (SELECT oid FROM roles WHERE app) = ANY (p.polroles))
    AND pg_get_expr(p.polqual, p.polrelid) = guard.expr
    AND (p.polwithcheck IS NULL OR pg_get_expr(p.polwithcheck, p.polrelid) = guard.expr))
UNION ALL SELECT 'no policy that lets a tenant to its own rows', name FROM tbl, guard WHERE NOT EXISTS (
  SELECT FROM pg_policy p WHERE p.polrelid = tbl.oid AND p.polpermissive AND p.polcmd = '*' AND (SELECT oid FROM roles WHERE app) = ANY (p.polroles)
    AND pg_get_expr(p.polqual, p.polrelid) = guard.expr)
UNION ALL SELECT 'policy with another condition: ' || polname, name FROM tbl JOIN pg_policy p ON p.polrelid = tbl.oid, guard
  WHERE pg_get_expr(p.polqual, p.polrelid) IS DISTINCT FROM guard.expr OR p.polwithcheck IS NOT NULL AND pg_get_expr(p.polwithcheck, p.polrelid) <> guard.expr
UNION ALL SELECT 'unique key does not begin with customer_id: ' || i.indexrelid::regclass, name
  FROM tbl JOIN pg_index i ON i.indrelid = tbl.oid AND i.indisunique JOIN cid ON attrelid = tbl.oid WHERE i.indkey[0] <> cid.attnum
UNION ALL SELECT 'index does not begin with customer_id: ' || i.indexrelid::regclass, name
  FROM tbl JOIN pg_index i ON i.indrelid = tbl.oid AND NOT i.indisunique JOIN cid ON attrelid = tbl.oid WHERE i.indkey[0] <> cid.attnum
UNION ALL SELECT 'foreign key without the customer_id pair: ' || conname, name
  FROM tbl JOIN pg_constraint k ON k.conrelid = tbl.oid AND k.contype = 'f' JOIN cid a ON a.attrelid = k.conrelid JOIN cid b ON b.attrelid = k.confrelid
  WHERE NOT EXISTS (SELECT FROM generate_subscripts(k.conkey, 1) s WHERE k.conkey[s] = a.attnum AND k.confkey[s] = b.attnum)
UNION ALL SELECT 'constraint is not validated: ' || conname, name FROM tbl JOIN pg_constraint k ON k.conrelid = tbl.oid WHERE NOT convalidated

-- What shows tables to others than its reader.
UNION ALL SELECT 'view without security_invoker', name FROM rel
  WHERE nspname IN ('app', 'rebuild') AND kind = 'v' AND NOT coalesce(reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)
UNION ALL SELECT DISTINCT 'materialized view readable by ' || rolname, name FROM may WHERE nspname IN ('app', 'rebuild') AND kind = 'm'
UNION ALL SELECT 'function that runs as its owner, for ' || r.rolname, p.oid::regprocedure::text
  FROM roles r CROSS JOIN pg_proc p JOIN spaces s ON s.oid = p.pronamespace
  WHERE p.prosecdef AND has_schema_privilege(r.oid, s.oid, 'usage') AND has_function_privilege(r.oid, p.oid, 'execute')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')

-- What the two roles may do.
UNION ALL SELECT rolname || ' may ' || act, name FROM may WHERE oid IN (SELECT oid FROM tbl)
  AND (NOT app OR act IN ('truncate', 'references', 'trigger'))
UNION ALL SELECT rolname || ' may ' || act || ' past the table it is a part of', name FROM may JOIN pg_class c USING (oid) WHERE c.relispartition
UNION ALL SELECT rolname || ' may ' || act || ' without being the platform', name FROM may
  WHERE app AND nspname = 'app' AND relname = ANY ($2::text[])
UNION ALL SELECT rolname || ' may ' || act || ' outside the schema', name FROM may
  WHERE nspname NOT IN ('app', 'rebuild') AND NOT (app AND act = 'select' AND name = $3)
UNION ALL SELECT 'owned by ' || r.rolname, name FROM rel JOIN roles r ON pg_has_role(r.oid, relowner, 'member')
UNION ALL SELECT 'role is superuser, bypasses row security, replicates or may create', r.rolname FROM roles JOIN pg_roles r USING (oid)
  WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
UNION ALL SELECT r.rolname || ' may become this role', x.rolname FROM roles r JOIN pg_roles x ON pg_has_role(r.oid, x.oid, 'member')
  WHERE r.oid <> x.oid AND NOT (r.app AND x.rolname = 'app_platform')
UNION ALL SELECT 'logged in as another role, which it may become again', session_user WHERE session_user <> $1
UNION ALL SELECT r.rolname || ' may create in the schema', s.nspname FROM roles r JOIN spaces s ON has_schema_privilege(r.oid, s.oid, 'create')
UNION ALL SELECT r.rolname || ' may make temporary tables', current_database() FROM roles r WHERE has_database_privilege(r.oid, current_database(), 'temporary')
UNION ALL SELECT r.rolname || ' may create schemas', current_database() FROM roles r WHERE has_database_privilege(r.oid, current_database(), 'create')
ORDER BY 1, 2;
