package store

// PlatformTables are those of the check at the start.
var PlatformTables = platformTables
