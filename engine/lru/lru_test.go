package lru

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestCache(t *testing.T) {
	c := New[string, int](2)
	c.Put("a", 1)
	c.Put("b", 2)
	if v, ok := c.Get("a"); !ok || v != 1 {
		t.Errorf("a = %d, %v", v, ok)
	}
	c.Put("c", 3) // b was not used
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

// Whatever is done to it, it holds the last values put, of keys not deleted since, and no more than its limit.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := New[int, int](7)
	want := map[int]int{}
	for i := range 100_000 {
		k := r.IntN(20)
		switch r.IntN(4) {
		case 0:
			c.Put(k, i)
			want[k] = i
			if v, ok := c.Get(k); !ok || v != i {
				t.Fatalf("%d: %d is %d, %v after it was put", i, k, v, ok)
			}
		case 1:
			c.Delete(k)
			delete(want, k)
			if _, ok := c.Get(k); ok {
				t.Fatalf("%d: %d is there after it was deleted", i, k)
			}
		default:
			if v, ok := c.Get(k); ok && v != want[k] {
				t.Fatalf("%d: %d is %d, want %d", i, k, v, want[k])
			}
		}
		if c.Len() > 7 || len(c.ring) != c.Len() {
			t.Fatalf("%d: it holds %d in a ring of %d", i, c.Len(), len(c.ring))
		}
	}
}

// What is used all the time stays while much else comes and goes.
func TestKeepsWhatIsUsed(t *testing.T) {
	c := New[int, int](10)
	c.Put(0, 0)
	for i := 1; i < 1000; i++ {
		c.Put(i, i)
		if _, ok := c.Get(0); !ok {
			t.Fatalf("gone after %d others", i)
		}
	}
}

func TestConcurrent(t *testing.T) {
	c := New[int, int](50)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				k := (i*7 + g) % 100
				if v, ok := c.Get(k); ok && v%100 != k {
					t.Errorf("%d holds %d", k, v)
				}
				c.Put(k, 100*i+k)
				if i%11 == 0 {
					c.Delete(k)
				}
			}
		})
	}
	wg.Wait()
}
