// Package sqlite keeps the orders projection in SQLite files.
package sqlite
