// SHA-256, by BoringSSL or OpenSSL.

#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "openssl/evp.h"
#include "windlass/io/transfer/digest.h"

namespace windlass {
namespace {

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
    return absl::BytesToHexString(
        absl::string_view(reinterpret_cast<const char*>(digest), size));
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

const DigestRegistrar registrar(DigestKind::kSha256,
                                []() -> std::unique_ptr<Digest> {
                                  return std::make_unique<Sha256Digest>();
                                });

}  // namespace
}  // namespace windlass
