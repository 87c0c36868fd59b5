// Writing pickles of protocol 2 as Python reads them: plain opcodes. Strings
// and classes are written once, and Python's memo has them after that; every
// other object is written where it stands.
//
//   PickleWriter pickle;
//   pickle.Global("collections", "OrderedDict");
//   pickle.EmptyTuple();
//   pickle.Reduce();
//   std::string bytes = std::move(pickle).Finish();

#ifndef WINDLASS_IO_PICKLE_WRITER_H_
#define WINDLASS_IO_PICKLE_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace windlass {

// Each call puts what it is called after on Python's stack, or takes from it
// what Python's opcode of that name takes.
class PickleWriter {
 public:
  PickleWriter();

  void None() { pickle_ += 'N'; }
  void False() { pickle_ += '\x89'; }
  void Int(int64_t value);
  void String(absl::string_view text);  // UTF-8
  void Global(absl::string_view module, absl::string_view name);

  void Mark() { pickle_ += '('; }
  void Tuple() { pickle_ += 't'; }  // of all since the mark
  void EmptyTuple() { pickle_ += ')'; }
  void EmptyDict() { pickle_ += '}'; }
  void EmptyList() { pickle_ += ']'; }
  void Appends() { pickle_ += 'e'; }   // all since the mark, to a list
  void SetItems() { pickle_ += 'u'; }  // likewise keys and values, to a dict
  void Reduce() { pickle_ += 'R'; }    // calls with a tuple of arguments
  void NewObject() { pickle_ += '\x81'; }
  void Build() { pickle_ += 'b'; }  // gives an object its state
  void PersistentId() { pickle_ += 'Q'; }

  // A tuple of numbers.
  void Ints(absl::Span<const int64_t> values);

  // Ends the pickle; what is on the stack is what it holds.
  std::string Finish() &&;

 private:
  // Writes what makes an object, or that it is the same again.
  void Once(std::string opcodes);

  std::string pickle_;
  absl::flat_hash_map<std::string, uint32_t> memo_;
};

// Writes the items of a dict that is on the stack, some at a time, as Python
// does: opcodes that take everything at once would take all memory at once.
class PickleItems {
 public:
  explicit PickleItems(PickleWriter* pickle) : pickle_(pickle) {}
  ~PickleItems() { End(); }

  // Before each key.
  void Next();

 private:
  void End();

  PickleWriter* const pickle_;
  int count_ = 0;
};

}  // namespace windlass

#endif  // WINDLASS_IO_PICKLE_WRITER_H_
