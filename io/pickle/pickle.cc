#include "windlass/io/pickle/pickle.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using Kind = PickleNode::Kind;

// No data nests as deep as this.
constexpr int kMaxDepth = 500;

// Of the nodes that are made anew, each takes two bytes: an instruction and its
// operand, or the one by which the object is known later.
constexpr size_t kMinNodeBytes = 2;
constexpr size_t kSharedNodes = 512;

// Room for items is taken in blocks of this many, or as many as are needed.
constexpr size_t kBlockItems = 64;
constexpr size_t kMaxBlockItems = size_t{1} << 16;

// The instructions, as Python's pickletools has them.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

bool IsMapping(const PickleNode& node) {
  return node.Is(Kind::kDict) || node.Is(Kind::kObject);
}

}  // namespace

const PickleNode* PickleNode::Find(absl::string_view key) const {
  if (!IsMapping(*this)) return nullptr;
  for (size_t i = items.size() / 2; i-- > 0;) {
    const PickleNode& candidate = *items[2 * i];
    if (candidate.Is(Kind::kString) && candidate.text == key) {
      return items[2 * i + 1];
    }
  }
  return nullptr;
}

const PickleNode* PickleNode::Attribute(absl::string_view name) const {
  if (!Is(Kind::kObject) || state == nullptr) return nullptr;
  // Of classes with slots, the state is a pair.
  if (state->Is(Kind::kTuple) && state->items.size() == 2) {
    for (const PickleNode* part : state->items) {
      if (const PickleNode* found = part->Find(name)) return found;
    }
    return nullptr;
  }
  return state->Find(name);
}

std::string PickleNode::Describe() const {
  switch (kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a bool";
    case Kind::kInt:
    case Kind::kLong:
      return "an integer";
    case Kind::kFloat:
      return "a float";
    case Kind::kString:
      return "a string";
    case Kind::kBytes:
      return "bytes";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kList:
      return "a list";
    case Kind::kSet:
      return "a set";
    case Kind::kDict:
      return "a dictionary";
    case Kind::kClass:
      return absl::StrCat("the class ", absl::CHexEscape(text));
    case Kind::kObject:
      return absl::StrCat("an object of class ",
                          absl::CHexEscape(callee->text));
    case Kind::kPersistent:
      return "a storage";
  }
  return "nothing";
}

// Runs a pickle's instructions on a stack of nodes.
class PickleMachine {
 public:
  PickleMachine(std::string bytes, Pickle::IsAllowed is_allowed)
      : is_allowed_(is_allowed) {
    pickle_.bytes_ = std::make_unique<const std::string>(std::move(bytes));
    rest_ = *pickle_.bytes_;
    none_ = Make(Kind::kNone);
    empty_tuple_ = Make(Kind::kTuple);
    for (int64_t value : {0, 1}) {
      PickleNode* const node = Make(Kind::kBool);
      node->integer = value;
      bools_[value] = node;
    }
  }

  absl::StatusOr<Pickle> Run() && {
    do {
      begin_ = Position();
      const absl::Status step = Step();
      if (!step.ok()) {
        return Annotate(step, "byte ", begin_, " of the pickle");
      }
      if (pickle_.nodes_.size() >
          pickle_.bytes_->size() / kMinNodeBytes + kSharedNodes) {
        return Invalid("more objects than a pickle of its size has");
      }
    } while (pickle_.root_ == nullptr);
    pickle_.size_ = Position();
    return std::move(pickle_);
  }

 private:
  size_t Position() const { return pickle_.bytes_->size() - rest_.size(); }

  PickleNode* Make(Kind kind) {
    pickle_.nodes_.emplace_back();
    pickle_.nodes_.back().kind = kind;
    return &pickle_.nodes_.back();
  }

  static absl::Status Invalid(absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("found ", what));
  }

  absl::StatusOr<absl::string_view> Take(uint64_t size) {
    if (size > rest_.size()) {
      return absl::OutOfRangeError(
          absl::StrCat("found the end after ", rest_.size(),
                       " bytes more, expected ", size));
    }
    const absl::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  // A little-endian number of that many bytes.
  absl::StatusOr<uint64_t> TakeNumber(int size) {
    WINDLASS_ASSIGN_OR_RETURN(const absl::string_view bytes, Take(size));
    uint64_t number = 0;
    for (int i = size; i-- > 0;) {
      number = number << 8 | static_cast<uint8_t>(bytes[i]);
    }
    return number;
  }

  // What follows a length of `size` bytes.
  absl::StatusOr<absl::string_view> TakeCounted(int size) {
    WINDLASS_ASSIGN_OR_RETURN(const uint64_t length, TakeNumber(size));
    return Take(length);
  }

  absl::StatusOr<absl::string_view> TakeLine() {
    const size_t end = rest_.find('\n');
    if (end == rest_.npos) {
      return absl::OutOfRangeError("found the end in the middle of a name");
    }
    const absl::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return line;
  }

  // The top of the stack, above the innermost mark.
  size_t Available() const {
    return stack_.size() - (marks_.empty() ? 0 : marks_.back());
  }

  absl::StatusOr<const PickleNode*> Pop() {
    if (Available() == 0) return Invalid("an instruction without its operand");
    const PickleNode* const node = stack_.back();
    stack_.pop_back();
    return node;
  }

  // How many nodes were put on the stack since the innermost mark, which goes.
  absl::StatusOr<size_t> PopMark() {
    if (marks_.empty()) return Invalid("an instruction without its mark");
    const size_t count = Available();
    marks_.pop_back();
    return count;
  }

  // Moves the last `count` of the stack behind the items of a node.
  void MoveItems(size_t count, PickleNode* node) {
    if (count == 0) return;
    const size_t size = node->items.size();
    if (size + count > node->room) {
      const size_t room =
          std::max<size_t>(size + count, 2 * size_t{node->room});
      const PickleNode** const items = MakeRoom(room);
      std::copy(node->items.begin(), node->items.end(), items);
      node->items = absl::MakeConstSpan(items, size);
      node->room = static_cast<uint32_t>(room);
    }
    // What lies in blocks is const for all but this.
    const auto end = const_cast<const PickleNode**>(node->items.data()) + size;
    std::copy(stack_.end() - count, stack_.end(), end);
    node->items = absl::MakeConstSpan(node->items.data(), size + count);
    stack_.resize(stack_.size() - count);
  }

  const PickleNode** MakeRoom(size_t count) {
    if (count > block_left_) {
      block_size_ = std::max(count, std::min(2 * block_size_, kMaxBlockItems));
      block_left_ = block_size_;
      pickle_.items_.emplace_back(new const PickleNode*[block_size_]);
    }
    block_left_ -= count;
    return pickle_.items_.back().get() + block_size_ - block_left_ - count;
  }

  // The container or object that an instruction changes, which stays on the
  // stack. Nodes are only ever changed here, while the machine runs.
  absl::StatusOr<PickleNode*> Top() {
    if (Available() == 0) return Invalid("an instruction without its operand");
    return const_cast<PickleNode*>(stack_.back());
  }

  absl::Status Push(const PickleNode* node) {
    stack_.push_back(node);
    return absl::OkStatus();
  }

  absl::Status PushText(Kind kind,
                        const absl::StatusOr<absl::string_view>& text) {
    WINDLASS_RETURN_IF_ERROR(text.status());
    PickleNode* const node = Make(kind);
    node->text = *text;
    return Push(node);
  }

  // Small ones are most, and shared.
  absl::Status PushInteger(int64_t value) {
    const bool small = value >= 0 && value < 256;
    if (small && small_[value] != nullptr) return Push(small_[value]);
    PickleNode* const node = Make(Kind::kInt);
    node->integer = value;
    if (small) small_[value] = node;
    return Push(node);
  }

  absl::Status PushNumber(const absl::StatusOr<uint64_t>& number) {
    WINDLASS_RETURN_IF_ERROR(number.status());
    return PushInteger(static_cast<int64_t>(*number));
  }

  absl::Status PushLong(const absl::StatusOr<absl::string_view>& bytes) {
    WINDLASS_RETURN_IF_ERROR(bytes.status());
    if (bytes->size() > 8) return PushText(Kind::kLong, *bytes);
    const bool negative = !bytes->empty() && (bytes->back() & 0x80) != 0;
    uint64_t value = negative ? ~uint64_t{0} : 0;
    for (size_t i = bytes->size(); i-- > 0;) {
      value = value << 8 | static_cast<uint8_t>((*bytes)[i]);
    }
    return PushInteger(static_cast<int64_t>(value));
  }

  // Big-endian, alone among all.
  absl::Status PushFloat() {
    WINDLASS_ASSIGN_OR_RETURN(const absl::string_view bytes, Take(8));
    uint64_t bits = 0;
    for (const char byte : bytes) {
      bits = bits << 8 | static_cast<uint8_t>(byte);
    }
    PickleNode* const node = Make(Kind::kFloat);
    node->integer = static_cast<int64_t>(bits);
    return Push(node);
  }

  // A tuple or a set of the last `count` of the stack.
  absl::Status PushItems(Kind kind, const absl::StatusOr<size_t>& count) {
    WINDLASS_RETURN_IF_ERROR(count.status());
    if (Available() < *count) {
      return Invalid("an instruction without its operands");
    }
    if (kind == Kind::kTuple && *count == 0) return Push(empty_tuple_);
    PickleNode* const node = Make(kind);
    MoveItems(*count, node);
    return Push(node);
  }

  absl::Status PushClass(absl::string_view module, absl::string_view name) {
    const PickleNode*& known = classes_[{module, name}];
    if (known == nullptr) {
      std::string full = absl::StrCat(module, ".", name);
      if (!is_allowed_(full)) {
        return Invalid(absl::StrCat(
            "the class or function ", absl::CHexEscape(full),
            ", expected none but those that hold tensors; nothing was called"));
      }
      pickle_.texts_.push_back(std::move(full));
      PickleNode* const node = Make(Kind::kClass);
      node->text = pickle_.texts_.back();
      known = node;
    }
    return Push(known);
  }

  absl::Status PushNamedClass() {
    WINDLASS_ASSIGN_OR_RETURN(const absl::string_view module, TakeLine());
    WINDLASS_ASSIGN_OR_RETURN(const absl::string_view name, TakeLine());
    return PushClass(module, name);
  }

  absl::Status PushStackClass() {
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const name, Pop());
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const module, Pop());
    if (!module->Is(Kind::kString) || !name->Is(Kind::kString)) {
      return Invalid("a class whose name is no string");
    }
    return PushClass(module->text, name->text);
  }

  // REDUCE and NEWOBJ: a class, and a tuple of its arguments.
  absl::Status PushObject() {
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const arguments, Pop());
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const callee, Pop());
    if (!callee->Is(Kind::kClass) || !arguments->Is(Kind::kTuple)) {
      return Invalid(absl::StrCat("a call of ", callee->Describe(), " with ",
                                  arguments->Describe(),
                                  ", expected a class and a tuple"));
    }
    PickleNode* const node = Make(Kind::kObject);
    node->callee = callee;
    node->arguments = arguments;
    return Push(node);
  }

  absl::Status PushPersistent() {
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const id, Pop());
    PickleNode* const node = Make(Kind::kPersistent);
    node->callee = id;
    return Push(node);
  }

  absl::Status SetState() {
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const state, Pop());
    WINDLASS_ASSIGN_OR_RETURN(PickleNode* const node, Top());
    if (!node->Is(Kind::kObject) || node->state != nullptr) {
      return Invalid(absl::StrCat("a state for ", node->Describe(),
                                  ", expected an object that has none"));
    }
    node->state = state;
    return absl::OkStatus();
  }

  // The container below the last `count` of the stack, which are for it.
  absl::StatusOr<PickleNode*> Below(size_t count) {
    if (Available() <= count) {
      return Invalid("an instruction without its operands");
    }
    return const_cast<PickleNode*>(*(stack_.end() - count - 1));
  }

  absl::Status Append(Kind kind, const absl::StatusOr<size_t>& count) {
    WINDLASS_RETURN_IF_ERROR(count.status());
    WINDLASS_ASSIGN_OR_RETURN(PickleNode* const node, Below(*count));
    if (!node->Is(kind) && !node->Is(Kind::kObject)) {
      return Invalid(absl::StrCat("elements for ", node->Describe()));
    }
    MoveItems(*count, node);
    return absl::OkStatus();
  }

  absl::Status SetItems(const absl::StatusOr<size_t>& count) {
    WINDLASS_RETURN_IF_ERROR(count.status());
    WINDLASS_ASSIGN_OR_RETURN(PickleNode* const node, Below(*count));
    if (!IsMapping(*node) || *count % 2 != 0) {
      return Invalid(absl::StrCat("keys and values for ", node->Describe()));
    }
    MoveItems(*count, node);
    return absl::OkStatus();
  }

  absl::Status Get(const absl::StatusOr<uint64_t>& index) {
    WINDLASS_RETURN_IF_ERROR(index.status());
    if (*index >= memo_.size() || memo_[*index] == nullptr) {
      return Invalid(absl::StrCat("a reference to the object ", *index,
                                  ", which was not there yet"));
    }
    return Push(memo_[*index]);
  }

  // Python numbers what it remembers from 0 on.
  absl::Status Put(const absl::StatusOr<uint64_t>& index) {
    WINDLASS_RETURN_IF_ERROR(index.status());
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const node, Top());
    if (*index >= pickle_.bytes_->size()) {
      return Invalid(absl::StrCat("the object ", *index,
                                  ", more than a pickle of its size has"));
    }
    if (*index >= memo_.size()) memo_.resize(*index + 1);
    memoized_ += memo_[*index] == nullptr;
    memo_[*index] = node;
    return absl::OkStatus();
  }

  absl::Status DropToMark() {
    WINDLASS_ASSIGN_OR_RETURN(const size_t count, PopMark());
    stack_.resize(stack_.size() - count);
    return absl::OkStatus();
  }

  absl::Status PushMark() {
    if (marks_.size() >= kMaxDepth) {
      return Invalid(absl::StrCat("objects nested deeper than ", kMaxDepth));
    }
    marks_.push_back(stack_.size());
    return absl::OkStatus();
  }

  absl::Status CheckProtocol() {
    WINDLASS_ASSIGN_OR_RETURN(const uint64_t protocol, TakeNumber(1));
    if (protocol <= 5) return absl::OkStatus();
    return Invalid(
        absl::StrCat("protocol ", protocol, ", expected one up to 5"));
  }

  absl::Status Stop() {
    WINDLASS_ASSIGN_OR_RETURN(pickle_.root_, Pop());
    if (stack_.empty() && marks_.empty()) return absl::OkStatus();
    return Invalid("the pickle's end before all was used");
  }

  absl::Status Step() {
    WINDLASS_ASSIGN_OR_RETURN(const uint64_t opcode, TakeNumber(1));
    switch (opcode) {
      case kProto:
        return CheckProtocol();
      case kFrame:
        return Take(8).status();
      case kStop:
        return Stop();
      case kMark:
        return PushMark();
      case kPop:
        return Pop().status();
      case kPopMark:
        return DropToMark();
      case kDup: {
        WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const top, Top());
        return Push(top);
      }
      case kNone:
        return Push(none_);
      case kNewTrue:
        return Push(bools_[1]);
      case kNewFalse:
        return Push(bools_[0]);
      case kBinInt1:
        return PushNumber(TakeNumber(1));
      case kBinInt2:
        return PushNumber(TakeNumber(2));
      case kBinInt: {
        WINDLASS_ASSIGN_OR_RETURN(const uint64_t number, TakeNumber(4));
        return PushInteger(static_cast<int32_t>(number));
      }
      case kLong1:
        return PushLong(TakeCounted(1));
      case kLong4:
        return PushLong(TakeCounted(4));
      case kBinFloat:
        return PushFloat();
      // What Python 2 wrote as plain strings are names here.
      case kShortBinString:
      case kShortBinUnicode:
        return PushText(Kind::kString, TakeCounted(1));
      case kBinString:
      case kBinUnicode:
        return PushText(Kind::kString, TakeCounted(4));
      case kBinUnicode8:
        return PushText(Kind::kString, TakeCounted(8));
      case kShortBinBytes:
        return PushText(Kind::kBytes, TakeCounted(1));
      case kBinBytes:
        return PushText(Kind::kBytes, TakeCounted(4));
      case kBinBytes8:
      case kByteArray8:
        return PushText(Kind::kBytes, TakeCounted(8));
      case kEmptyTuple:
        return Push(empty_tuple_);
      case kTuple1:
        return PushItems(Kind::kTuple, size_t{1});
      case kTuple2:
        return PushItems(Kind::kTuple, size_t{2});
      case kTuple3:
        return PushItems(Kind::kTuple, size_t{3});
      case kTuple:
        return PushItems(Kind::kTuple, PopMark());
      case kEmptyList:
        return Push(Make(Kind::kList));
      case kEmptyDict:
        return Push(Make(Kind::kDict));
      case kEmptySet:
        return Push(Make(Kind::kSet));
      case kFrozenSet:
        return PushItems(Kind::kSet, PopMark());
      case kAppend:
        return Append(Kind::kList, size_t{1});
      case kAppends:
        return Append(Kind::kList, PopMark());
      case kAddItems:
        return Append(Kind::kSet, PopMark());
      case kSetItem:
        return SetItems(size_t{2});
      case kSetItems:
        return SetItems(PopMark());
      case kGlobal:
        return PushNamedClass();
      case kStackGlobal:
        return PushStackClass();
      case kReduce:
      case kNewObj:
        return PushObject();
      case kBuild:
        return SetState();
      case kBinPersId:
        return PushPersistent();
      case kBinGet:
        return Get(TakeNumber(1));
      case kLongBinGet:
        return Get(TakeNumber(4));
      case kBinPut:
        return Put(TakeNumber(1));
      case kLongBinPut:
        return Put(TakeNumber(4));
      case kMemoize:
        return Put(memoized_);
      default:
        return Invalid(absl::StrCat("the instruction 0x", absl::Hex(opcode),
                                    ", which pickles of data do not have"));
    }
  }

  const Pickle::IsAllowed is_allowed_;
  Pickle pickle_;
  absl::string_view rest_;
  size_t begin_ = 0;  // of the current instruction
  std::vector<const PickleNode*> stack_;
  std::vector<size_t> marks_;            // how high the stack was
  std::vector<const PickleNode*> memo_;  // null where nothing was put
  uint64_t memoized_ = 0;                // of them, those that are not null
  // By module and name, which are in the bytes.
  absl::flat_hash_map<std::pair<absl::string_view, absl::string_view>,
                      const PickleNode*>
      classes_;
  size_t block_size_ = kBlockItems / 2;  // of the last block of items
  size_t block_left_ = 0;                // of its room
  std::array<const PickleNode*, 256> small_{};
  const PickleNode* none_ = nullptr;
  const PickleNode* empty_tuple_ = nullptr;
  const PickleNode* bools_[2] = {nullptr, nullptr};
};

absl::StatusOr<Pickle> Pickle::Parse(std::string bytes, IsAllowed is_allowed) {
  return PickleMachine(std::move(bytes), is_allowed).Run();
}

}  // namespace windlass
