-- Every way in which a table, role or view could let one tenant see another's
-- rows. No row is the only good answer. $1 is the application's role, $2 the
-- tables that are the platform's own.
WITH tbl AS (
  SELECT c.oid, c.relname, c.relrowsecurity AS rls, c.relforcerowsecurity AS forced, c.relowner
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'app' AND c.relkind IN ('r', 'p') AND NOT c.relname = ANY ($2::text[])),
cid AS (
  SELECT attrelid, attnum, attnotnull, atthasdef FROM pg_attribute WHERE attname = 'customer_id' AND NOT attisdropped),
guard AS (SELECT '(customer_id = (current_setting(''app.customer_id''::text))::integer)'::text AS expr)
SELECT 'no customer_id' AS rule, relname::text AS object FROM tbl WHERE NOT EXISTS (SELECT FROM cid WHERE attrelid = tbl.oid)
UNION ALL SELECT 'customer_id may be null', relname FROM tbl JOIN cid ON attrelid = tbl.oid WHERE NOT attnotnull
UNION ALL SELECT 'customer_id has a default', relname FROM tbl JOIN cid ON attrelid = tbl.oid WHERE atthasdef
UNION ALL SELECT 'row security is off', relname FROM tbl WHERE NOT rls
UNION ALL SELECT 'row security is not forced', relname FROM tbl WHERE NOT forced
UNION ALL SELECT 'no restrictive tenant guard', relname FROM tbl, guard WHERE NOT EXISTS (
  SELECT FROM pg_policy p WHERE p.polrelid = tbl.oid AND NOT p.polpermissive AND p.polcmd = '*'
    AND (p.polroles = '{0}' OR (SELECT oid FROM pg_roles WHERE rolname = $1) = ANY (p.polroles))
    AND pg_get_expr(p.polqual, p.polrelid) = guard.expr)
UNION ALL SELECT 'unique key does not begin with customer_id: ' || i.indexrelid::regclass, relname
  FROM tbl JOIN pg_index i ON i.indrelid = tbl.oid AND i.indisunique JOIN cid ON attrelid = tbl.oid WHERE i.indkey[0] <> cid.attnum
UNION ALL SELECT 'index does not begin with customer_id: ' || i.indexrelid::regclass, relname
  FROM tbl JOIN pg_index i ON i.indrelid = tbl.oid AND NOT i.indisunique JOIN cid ON attrelid = tbl.oid WHERE i.indkey[0] <> cid.attnum
UNION ALL SELECT 'foreign key without the customer_id pair: ' || conname, relname
  FROM tbl JOIN pg_constraint k ON k.conrelid = tbl.oid AND k.contype = 'f' JOIN cid a ON a.attrelid = k.conrelid JOIN cid b ON b.attrelid = k.confrelid
  WHERE NOT EXISTS (SELECT FROM generate_subscripts(k.conkey, 1) s WHERE k.conkey[s] = a.attnum AND k.confkey[s] = b.attnum)
UNION ALL SELECT 'constraint is not validated: ' || conname, relname FROM tbl JOIN pg_constraint k ON k.conrelid = tbl.oid WHERE NOT convalidated
UNION ALL SELECT 'view without security_invoker', c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'app' AND c.relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)
UNION ALL SELECT 'materialized view readable by the application', c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'app' AND c.relkind = 'm' AND has_table_privilege($1, c.oid, 'select')
UNION ALL SELECT 'function that runs as its owner', p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname = 'app' AND p.prosecdef AND has_function_privilege($1, p.oid, 'execute')
UNION ALL SELECT 'application may truncate, trigger or reference', relname FROM tbl
  WHERE has_table_privilege($1, oid, 'truncate') OR has_table_privilege($1, oid, 'trigger') OR has_table_privilege($1, oid, 'references')
UNION ALL SELECT 'application role is superuser, bypasses row security or may create', rolname FROM pg_roles
  WHERE rolname = $1 AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)
UNION ALL SELECT 'application owns the table', relname FROM tbl WHERE pg_has_role($1, relowner, 'member')
UNION ALL SELECT 'application may create in the schema', 'app' WHERE has_schema_privilege($1, 'app', 'create')
UNION ALL SELECT 'platform role sees tenants'' rows', relname FROM tbl WHERE has_table_privilege('app_platform', oid, 'select')
ORDER BY 1, 2;
