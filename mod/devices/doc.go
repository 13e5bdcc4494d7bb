// Package devices shows users which clients have access to their accounts, and lets them take it away (XEP-0494).
package devices
