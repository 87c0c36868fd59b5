#include "windlass/convert/optimizer_state.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "windlass/adapters/common/equal_tensors.h"
#include "windlass/convert/stand_ins.h"
#include "windlass/core/dtype.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

constexpr absl::string_view kState = "state.";
constexpr absl::string_view kGroups = "param_groups.";

// As torch.optim's call them.
constexpr absl::string_view kMoments[] = {"exp_avg", "exp_avg_sq",
                                          "momentum_buffer"};

// The parts of "optim.state.model.norm.weight.step".
struct EntryName {
  absl::string_view prefix;     // "optim."
  absl::string_view section;    // "state."
  absl::string_view parameter;  // "model.norm.weight"
  absl::string_view kind;       // "step"
};

// Where a section begins in a name: at a segment's beginning.
size_t FindSection(absl::string_view name, absl::string_view section) {
  for (size_t at = name.find(section); at != name.npos;
       at = name.find(section, at + 1)) {
    if (at == 0 || name[at - 1] == '.') return at;
  }
  return name.npos;
}

std::optional<EntryName> ParseName(absl::string_view name) {
  const size_t state = FindSection(name, kState);
  const size_t groups = FindSection(name, kGroups);
  const size_t begin = std::min(state, groups);
  if (begin == name.npos) return std::nullopt;
  EntryName parsed;
  parsed.prefix = name.substr(0, begin);
  parsed.section = state < groups ? kState : kGroups;
  const absl::string_view rest = name.substr(begin + parsed.section.size());
  const size_t dot = rest.rfind('.');
  if (dot == rest.npos || dot == 0 || dot + 1 == rest.size()) {
    return std::nullopt;
  }
  parsed.parameter = rest.substr(0, dot);
  parsed.kind = rest.substr(dot + 1);
  return parsed;
}

// How often a parameter was updated: a number even where the parameter is one.
bool IsStep(const NamedTensor& entry) {
  return entry.tensor.rank() == 0 && absl::EndsWith(entry.name, ".step");
}

absl::Status Invalid(absl::string_view name, absl::string_view found,
                     absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      "tensor \"", name, "\": found ", found, ", expected ", expected));
}

// A number or an object that each part of its parameter is given.
struct Note {
  const NamedTensor* entry = nullptr;
  bool is_object = false;
};

struct Parameter {
  absl::string_view name;
  const NamedTensor* moment = nullptr;  // the first, which has its shape
};

// A kind of notes, "state." and "step", by the parameter's number.
struct NoteKind {
  absl::string_view section;
  absl::string_view kind;
  absl::flat_hash_map<size_t, Note> notes;
};

// A kind of moments, in the input's order.
struct MomentKind {
  absl::string_view kind;
  std::vector<std::pair<size_t, const NamedTensor*>> moments;
};

// Which parameters go where, found out with stand-ins for them.
struct Part {
  std::string name;
  std::vector<size_t> of;
};

absl::StatusOr<std::vector<Part>> FollowParameters(const StandIns& stand_ins,
                                                   const LayoutChange& change) {
  WINDLASS_ASSIGN_OR_RETURN(const StateDict changed,
                            change(stand_ins.tensors()));
  std::vector<Part> parts;
  parts.reserve(changed.size());
  for (const auto& [name, tensor] : changed) {
    Part part{name, {}};
    stand_ins.VisitUsed(tensor, [&part](size_t number) {
      if (part.of.empty() || part.of.back() != number) {
        part.of.push_back(number);
      }
    });
    absl::c_sort(part.of);
    part.of.erase(std::unique(part.of.begin(), part.of.end()), part.of.end());
    parts.push_back(std::move(part));
  }
  return parts;
}

// All that stands below one prefix.
class Group {
 public:
  Group(absl::string_view prefix) : prefix_(prefix) {}  // NOLINT: implicit

  absl::Status Add(const EntryName& name, const NamedTensor& entry,
                   bool is_object);
  // After the last of Add.
  absl::Status Classify();
  absl::Status StripWrappers(const WrapperNames& wrapper_names,
                             OptimizerState* out);
  absl::Status Convert(const LayoutChange& change, OptimizerState* out) const;

 private:
  struct Entry {
    EntryName name;
    const NamedTensor* entry;
    bool is_object;
  };

  absl::Status CheckNesting() const;
  absl::Status AddState(const Entry& entry);
  NoteKind& NotesOf(absl::string_view section, absl::string_view kind);
  absl::Status ConvertMoments(const MomentKind& kind,
                              const LayoutChange& change,
                              OptimizerState* out) const;
  absl::Status ConvertNote(const NoteKind& kind, const Part& part,
                           OptimizerState* out) const;
  void ListLeftOut(const std::vector<Part>& parts, OptimizerState* out) const;
  std::string NameOf(absl::string_view section, absl::string_view parameter,
                     absl::string_view kind) const {
    return absl::StrCat(prefix_, section, parameter, ".", kind);
  }
  absl::string_view NewName(size_t parameter) const {
    return stripped_.empty() ? parameters_[parameter].name
                             : stripped_[parameter];
  }

  const absl::string_view prefix_;
  std::vector<Entry> entries_;
  std::vector<Parameter> parameters_;
  absl::flat_hash_map<absl::string_view, size_t> numbers_;
  std::vector<MomentKind> moments_;
  std::vector<NoteKind> notes_;
  std::vector<std::string> unused_;
  std::vector<absl::string_view> stripped_;  // by parameter; empty for as it is
  StateDict stripped_names_;                 // what they point into
};

absl::Status Group::Add(const EntryName& name, const NamedTensor& entry,
                        bool is_object) {
  entries_.push_back({name, &entry, is_object});
  if (is_object || name.section != kState) return absl::OkStatus();
  const auto [it, is_new] =
      numbers_.try_emplace(name.parameter, parameters_.size());
  if (is_new) parameters_.push_back({name.parameter, nullptr});
  const NamedTensor*& moment = parameters_[it->second].moment;
  if (moment == nullptr || IsStep(*moment) ||
      (moment->tensor.rank() == 0 && entry.tensor.rank() > 0)) {
    moment = &entry;
  }
  return absl::OkStatus();
}

// State within state ("preconditioners.0") would pass for another parameter's.
absl::Status Group::CheckNesting() const {
  for (const Parameter& parameter : parameters_) {
    const absl::string_view name = parameter.name;
    for (size_t dot = name.find('.'); dot != name.npos;
         dot = name.find('.', dot + 1)) {
      if (!numbers_.contains(name.substr(0, dot))) continue;
      return Invalid(parameter.moment->name,
                     absl::StrCat("state within that of the parameter \"",
                                  name.substr(0, dot), "\""),
                     "tensors as large as parameters, and numbers");
    }
  }
  return absl::OkStatus();
}

NoteKind& Group::NotesOf(absl::string_view section, absl::string_view kind) {
  auto found = absl::c_find_if(notes_, [&](const NoteKind& notes) {
    return notes.section == section && notes.kind == kind;
  });
  if (found == notes_.end()) {
    found = notes_.insert(notes_.end(), {section, kind, {}});
  }
  return *found;
}

absl::Status Group::AddState(const Entry& entry) {
  const size_t number = numbers_.at(entry.name.parameter);
  const Tensor& tensor = entry.entry->tensor;
  const NamedTensor& moment = *parameters_[number].moment;
  const bool is_number =
      IsStep(*entry.entry) || (tensor.rank() == 0 && moment.tensor.rank() > 0);
  if (is_number) {
    NotesOf(kState, entry.name.kind).notes[number] = {entry.entry, false};
    return absl::OkStatus();
  }
  if (tensor.shape() != moment.tensor.shape()) {
    return Invalid(entry.entry->name, tensor.ToString(),
                   absl::StrCat(ShapeString(moment.tensor.shape()), " as \"",
                                moment.name, "\" has"));
  }
  if (!IsFloat(tensor.dtype()) || DTypeBits(tensor.dtype()) <= 8) {
    return Invalid(entry.entry->name, tensor.ToString(),
                   "floats of 16 bits or more");
  }
  auto found = absl::c_find_if(moments_, [&](const MomentKind& kind) {
    return kind.kind == entry.name.kind;
  });
  if (found == moments_.end()) {
    found = moments_.insert(moments_.end(), {entry.name.kind, {}});
  }
  found->moments.emplace_back(number, entry.entry);
  return absl::OkStatus();
}

absl::Status Group::Classify() {
  WINDLASS_RETURN_IF_ERROR(CheckNesting());
  for (const Entry& entry : entries_) {
    if (!entry.is_object && entry.name.section == kState) {
      WINDLASS_RETURN_IF_ERROR(AddState(entry));
      continue;
    }
    const auto number = numbers_.find(entry.name.parameter);
    if (number != numbers_.end()) {
      NotesOf(entry.name.section, entry.name.kind).notes[number->second] = {
          entry.entry, entry.is_object};
    } else if (entry.is_object) {
      unused_.push_back(entry.entry->name);
    } else {
      return Invalid(entry.entry->name,
                     "a setting of a parameter without state",
                     "one of a parameter that has some");
    }
  }
  for (const Parameter& parameter : parameters_) {
    if (!IsStep(*parameter.moment)) continue;
    return Invalid(parameter.moment->name,
                   "no moment of the parameter beside it",
                   "one, which says its shape");
  }
  return absl::OkStatus();
}

absl::Status Group::StripWrappers(const WrapperNames& wrapper_names,
                                  OptimizerState* out) {
  StateDict names;
  for (const Parameter& parameter : parameters_) {
    WINDLASS_RETURN_IF_ERROR(
        names.Insert(std::string(parameter.name), parameter.moment->tensor));
  }
  WINDLASS_ASSIGN_OR_RETURN(stripped_names_,
                            StripWrapperNames(names, wrapper_names));
  for (const NamedTensor& named : stripped_names_) {
    out->unwrapped += named.name != parameters_[stripped_.size()].name;
    stripped_.push_back(named.name);
  }
  return absl::OkStatus();
}

absl::Status Group::ConvertMoments(const MomentKind& kind,
                                   const LayoutChange& change,
                                   OptimizerState* out) const {
  StateDict parameters;
  parameters.Reserve(kind.moments.size());
  for (const auto& [number, moment] : kind.moments) {
    WINDLASS_RETURN_IF_ERROR(
        parameters.Insert(std::string(NewName(number)), moment->tensor));
  }
  const absl::StatusOr<StateDict> changed = change(parameters);
  if (!changed.ok()) {
    return Annotate(changed.status(), prefix_, kState, "*.", kind.kind);
  }
  for (const auto& [name, tensor] : *changed) {
    WINDLASS_RETURN_IF_ERROR(
        out->tensors.Insert(NameOf(kState, name, kind.kind), tensor));
  }
  return absl::OkStatus();
}

absl::Status Group::ConvertNote(const NoteKind& kind, const Part& part,
                                OptimizerState* out) const {
  std::optional<Tensor> value;
  Note first;
  const Parameter* without = nullptr;
  for (const size_t number : part.of) {
    const auto found = kind.notes.find(number);
    if (found == kind.notes.end()) {
      without = &parameters_[number];
      continue;
    }
    const Note& note = found->second;
    if (!value.has_value()) {
      first = note;
      value = note.entry->tensor;
      continue;
    }
    if (note.is_object != first.is_object) {
      return Invalid(note.entry->name, "a tensor and an object",
                     absl::StrCat("the same as \"", first.entry->name, "\""));
    }
    WINDLASS_ASSIGN_OR_RETURN(
        value,
        Equal(*value, first.entry->name, note.entry->tensor, note.entry->name));
  }
  if (!value.has_value()) return absl::OkStatus();
  if (without != nullptr) {
    return Invalid(NameOf(kind.section, without->name, kind.kind),
                   "no such entry",
                   absl::StrCat("one as \"", first.entry->name,
                                "\": both are of \"", part.name, "\""));
  }
  return (first.is_object ? out->objects : out->tensors)
      .Insert(NameOf(kind.section, part.name, kind.kind), *std::move(value));
}

void Group::ListLeftOut(const std::vector<Part>& parts,
                        OptimizerState* out) const {
  std::vector<bool> used(parameters_.size());
  for (const Part& part : parts) {
    for (const size_t number : part.of) used[number] = true;
  }
  absl::c_copy(unused_, std::back_inserter(out->left_out));
  for (const Entry& entry : entries_) {
    const auto number = numbers_.find(entry.name.parameter);
    if (entry.is_object && number != numbers_.end() && !used[number->second]) {
      out->left_out.push_back(entry.entry->name);
    }
  }
}

absl::Status Group::Convert(const LayoutChange& change,
                            OptimizerState* out) const {
  StandIns stand_ins;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    WINDLASS_RETURN_IF_ERROR(
        stand_ins.Add(std::string(NewName(i)), parameters_[i].moment->tensor));
  }
  const absl::StatusOr<std::vector<Part>> followed =
      FollowParameters(stand_ins, change);
  if (!followed.ok()) {
    return Annotate(followed.status(), prefix_, "state.*");
  }
  const std::vector<Part>& parts = *followed;
  for (const MomentKind& kind : moments_) {
    WINDLASS_RETURN_IF_ERROR(ConvertMoments(kind, change, out));
  }
  // Numbers kind by kind, as moments are; settings by parameter.
  for (const NoteKind& kind : notes_) {
    if (kind.section != kState) continue;
    for (const Part& part : parts) {
      WINDLASS_RETURN_IF_ERROR(ConvertNote(kind, part, out));
    }
  }
  for (const Part& part : parts) {
    for (const NoteKind& kind : notes_) {
      if (kind.section == kState) continue;
      WINDLASS_RETURN_IF_ERROR(ConvertNote(kind, part, out));
    }
  }
  ListLeftOut(parts, out);
  return absl::OkStatus();
}

}  // namespace

bool IsMomentName(absl::string_view name) {
  // Few names end so, which is quickly seen.
  const absl::string_view kind = name.substr(name.rfind('.') + 1);
  if (!absl::c_linear_search(kMoments, kind)) return false;
  const std::optional<EntryName> parsed = ParseName(name);
  return parsed.has_value() && parsed->section == kState;
}

absl::StatusOr<OptimizerState> ConvertOptimizerState(
    const StateDict& tensors, const StateDict& objects,
    const WrapperNames& wrapper_names, const LayoutChange& change) {
  std::vector<std::unique_ptr<Group>> groups;
  absl::flat_hash_map<absl::string_view, Group*> by_prefix;
  OptimizerState out;
  for (const bool is_object : {false, true}) {
    for (const NamedTensor& entry : is_object ? objects : tensors) {
      const std::optional<EntryName> name = ParseName(entry.name);
      if (!name.has_value() && is_object) {
        // The scheduler's, for instance: of no parameter.
        WINDLASS_RETURN_IF_ERROR(out.objects.Insert(entry.name, entry.tensor));
        continue;
      }
      if (!name.has_value()) {
        return Invalid(entry.name, entry.tensor.ToString(),
                       "the state that an optimizer has of a parameter "
                       "(\"...state.<parameter>.exp_avg\")");
      }
      Group*& group = by_prefix[name->prefix];
      if (group == nullptr) {
        group =
            groups.emplace_back(std::make_unique<Group>(name->prefix)).get();
      }
      WINDLASS_RETURN_IF_ERROR(group->Add(*name, entry, is_object));
    }
  }
  for (const auto& group : groups) {
    WINDLASS_RETURN_IF_ERROR(group->Classify());
    WINDLASS_RETURN_IF_ERROR(group->StripWrappers(wrapper_names, &out));
    WINDLASS_RETURN_IF_ERROR(group->Convert(change, &out));
  }
  return out;
}

}  // namespace windlass
