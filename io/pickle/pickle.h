// Python's pickles, read as data. A pickle is a program that builds objects by
// calling whatever it names; here nothing is ever called. What it would build
// is a tree of nodes: numbers, strings, lists, and "this class, with these
// arguments", which the caller understands or refuses.
//
//   absl::StatusOr<Pickle> pickle = Pickle::Parse(bytes, IsTorchClass);
//   const PickleNode* weight = pickle->root().Find("lm_head.weight");
//
// Protocols 2 to 5, as far as pickles of data use them. docs/formats.md has the
// instructions.

#ifndef WINDLASS_IO_PICKLE_PICKLE_H_
#define WINDLASS_IO_PICKLE_PICKLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace windlass {

// What a pickle has built. Nodes may be shared, and a malicious pickle can make
// a list that holds itself: whoever walks the tree bounds how deep.
struct PickleNode {
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kLong,  // an integer beyond 64 bits; its little-endian bytes are `text`
    kFloat,
    kString,
    kBytes,
    kTuple,
    kList,
    kSet,
    kDict,
    kClass,       // `text` is its name, "torch.Size"
    kObject,      // what calling `callee` with `arguments` would give
    kPersistent,  // what the pickle's reader knows by the id `callee`
  };

  bool Is(Kind wanted) const { return kind == wanted; }

  // Whether this is the class of that name, or an object that it makes.
  bool IsClass(absl::string_view name) const {
    return kind == Kind::kClass && text == name;
  }
  bool IsObject(absl::string_view class_name) const {
    return kind == Kind::kObject && callee->text == class_name;
  }

  // The value that a dictionary, or an object that is one, has under a string;
  // null for none. The last one where there are several, as in Python.
  const PickleNode* Find(absl::string_view key) const;

  // The attribute of an object, as its state has it; null for none.
  const PickleNode* Attribute(absl::string_view name) const;

  // "a list", "an object of class torch.Size": for messages.
  std::string Describe() const;

  Kind kind = Kind::kNone;
  uint32_t room = 0;    // for that many items, while the pickle is read
  int64_t integer = 0;  // kBool, kInt; the bits of a kFloat
  absl::string_view text;
  // The elements of a tuple, list or set. Of a dictionary, or of an object that
  // was filled like one: a key, its value, and so on.
  absl::Span<const PickleNode* const> items;
  const PickleNode* callee = nullptr;
  const PickleNode* arguments = nullptr;  // a tuple
  const PickleNode* state = nullptr;      // null for an object that has none
};

// A pickle's nodes, for as long as it lives.
class Pickle {
 public:
  // Whether a pickle may name a class, "module.name".
  using IsAllowed = absl::FunctionRef<bool(absl::string_view)>;

  // Reads the pickle that `bytes` start with. InvalidArgument says at which
  // byte what was found: a class that is not allowed, by its name; an
  // instruction that pickles of data have no use for; what does not fit.
  // OutOfRange where the bytes end before the pickle does. Memory stays within
  // a small multiple of the bytes, as do steps.
  static absl::StatusOr<Pickle> Parse(std::string bytes, IsAllowed is_allowed);

  const PickleNode& root() const { return *root_; }

  // Every node that was made, in that order.
  const std::deque<PickleNode>& nodes() const { return nodes_; }

  // How many of the bytes the pickle took.
  size_t size() const { return size_; }

 private:
  friend class PickleMachine;

  Pickle() = default;

  std::unique_ptr<const std::string> bytes_;  // what nodes' texts point into
  std::deque<PickleNode> nodes_;
  std::vector<std::unique_ptr<const PickleNode*[]>> items_;  // of the nodes
  std::deque<std::string> texts_;  // and those that are put together
  const PickleNode* root_ = nullptr;
  size_t size_ = 0;
};

}  // namespace windlass

#endif  // WINDLASS_IO_PICKLE_PICKLE_H_
