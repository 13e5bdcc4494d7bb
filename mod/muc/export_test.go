package muc

import "sabir/mod"

// Loaded returns how many rooms are in memory.
func Loaded(h *mod.Hooks) int { return len(h.Instance.(*muc).loaded()) }

// Sweep looks for rooms that are idle, as happens each minute.
func Sweep(h *mod.Hooks) { h.Instance.(*muc).unload() }
