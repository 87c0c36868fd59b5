#include "windlass/io/transfer/digest.h"

#include "absl/strings/escaping.h"
#include "openssl/evp.h"
#include "xxhash.h"

namespace windlass {
namespace {

struct KindName {
  DigestKind kind;
  const char* name;
};

constexpr KindName kKinds[] = {{DigestKind::kNone, "none"},
                               {DigestKind::kXxh3, "xxh3"},
                               {DigestKind::kSha256, "sha256"}};

std::string Hex(const void* bytes, size_t size) {
  return absl::BytesToHexString(
      absl::string_view(static_cast<const char*>(bytes), size));
}

class Xxh3Digest : public Digest {
 public:
  Xxh3Digest() { XXH3_64bits_reset(state_.get()); }

  void Update(absl::Span<const char> bytes) override {
    XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  }

  std::string Finish() override {
    XXH64_canonical_t canonical;
    XXH64_canonicalFromHash(&canonical, XXH3_64bits_digest(state_.get()));
    return Hex(canonical.digest, sizeof(canonical.digest));
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  const std::unique_ptr<XXH3_state_t, Free> state_{XXH3_createState()};
};

class Sha256Digest : public Digest {
 public:
  Sha256Digest() { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }

  void Update(absl::Span<const char> bytes) override {
    EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }

  std::string Finish() override {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    return Hex(digest, size);
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

}  // namespace

std::optional<DigestKind> ParseDigestKind(absl::string_view name) {
  for (const KindName& known : kKinds) {
    if (name == known.name) return known.kind;
  }
  return std::nullopt;
}

absl::string_view DigestKindName(DigestKind kind) {
  return kKinds[static_cast<int>(kind)].name;
}

std::unique_ptr<Digest> Digest::Create(DigestKind kind) {
  if (kind == DigestKind::kSha256) return std::make_unique<Sha256Digest>();
  return std::make_unique<Xxh3Digest>();
}

}  // namespace windlass
