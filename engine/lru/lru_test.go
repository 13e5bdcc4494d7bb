package lru

import "testing"

func TestCache(t *testing.T) {
	c := New[string, int](2)
	c.Put("a", 1)
	c.Put("b", 2)
	if v, ok := c.Get("a"); !ok || v != 1 {
		t.Errorf("a = %d, %v", v, ok)
	}
	c.Put("c", 3) // b was not used for longest
	if _, ok := c.Get("b"); ok || c.Len() != 2 {
		t.Errorf("b is still there among %d", c.Len())
	}
	c.Put("a", 4)
	if v, _ := c.Get("a"); v != 4 || c.Len() != 2 {
		t.Errorf("a = %d after it was replaced, of %d", v, c.Len())
	}
	c.Delete("a")
	c.Delete("a")
	if _, ok := c.Get("a"); ok || c.Len() != 1 {
		t.Error("a is still there after it was deleted")
	}
}

func TestLimitAtLeastOne(t *testing.T) {
	c := New[int, int](0)
	c.Put(1, 1)
	c.Put(2, 2)
	if _, ok := c.Get(2); !ok || c.Len() != 1 {
		t.Error("the limit is not 1")
	}
}
