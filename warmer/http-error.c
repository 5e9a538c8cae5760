#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "http-internal.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#define ALERT(number) (SSL_AD_REASON_OFFSET + (number))

/*
 * What OpenSSL reports that will be the same tomorrow. Everything else of TLS (an end of file, a
 * broken record, an internal error over there) may be the network's or a restarting server's.
 */
static const struct {
    int reason;
    const char *words;
} tls_never[] = {
    {SSL_R_WRONG_VERSION_NUMBER,
     "the other end does not speak TLS: plain HTTP needs --insecure-registry HOST"},
    {SSL_R_HTTP_REQUEST,
     "the other end does not speak TLS: plain HTTP needs --insecure-registry HOST"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the server only offers a TLS version older than 1.2"},
    {ALERT(SSL_AD_PROTOCOL_VERSION), "the server only offers a TLS version older than 1.2"},
    {ALERT(SSL_AD_HANDSHAKE_FAILURE),
     "the server refuses the TLS handshake: no common cipher, or it wants a client certificate "
     "(--registry-client-cert HOST=CRT,KEY)"},
    {ALERT(SSL_AD_INSUFFICIENT_SECURITY), "the server finds our TLS ciphers too weak"},
    {ALERT(SSL_AD_UNRECOGNIZED_NAME), "the server knows no such name"},
    {ALERT(SSL_AD_CERTIFICATE_REQUIRED),
     "the server wants a client certificate: --registry-client-cert HOST=CRT,KEY"},
    {ALERT(SSL_AD_BAD_CERTIFICATE), "the server refuses the client certificate"},
    {ALERT(SSL_AD_UNSUPPORTED_CERTIFICATE), "the server refuses the client certificate"},
    {ALERT(SSL_AD_CERTIFICATE_REVOKED), "the server says that the client certificate is revoked"},
    {ALERT(SSL_AD_CERTIFICATE_EXPIRED), "the server says that the client certificate has expired"},
    {ALERT(SSL_AD_CERTIFICATE_UNKNOWN), "the server refuses the client certificate"},
    {ALERT(SSL_AD_UNKNOWN_CA), "the server does not know the CA of the client certificate"},
    {ALERT(SSL_AD_ACCESS_DENIED), "the server refuses the client certificate"},
    {SSL_R_DH_KEY_TOO_SMALL, "the server's Diffie-Hellman key is too small"},
    {SSL_R_CA_KEY_TOO_SMALL, "a key in the server's certificate chain is too small"},
    {SSL_R_EE_KEY_TOO_SMALL, "the key of the server's certificate is too small"},
    {SSL_R_CA_MD_TOO_WEAK, "a signature in the server's certificate chain is too weak"},
    {SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED,
     "the server's TLS lacks secure renegotiation, which is refused"},
};

/* libcurl takes OpenSSL's errors off its queue; what is left is the code in its own message:
 * "error:0A00010B:SSL routines::wrong version number". */
static const char *tls_words(const char *curl_says, bool *ret_no_tls)
{
    const char *at = strstr(curl_says, "error:");
    if (!at)
        return NULL;
    unsigned long code = strtoul(at + strlen("error:"), NULL, 16);
    if (ERR_GET_LIB(code) != ERR_LIB_SSL)
        return NULL;
    int reason = ERR_GET_REASON(code);
    *ret_no_tls = reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST;
    for (size_t i = 0; i < sizeof tls_never / sizeof *tls_never; i++)
        if (tls_never[i].reason == reason)
            return tls_never[i].words;
    return NULL;
}

/* What libcurl says when it has not come to a result: 1 is OpenSSL's "unspecified", too. */
static bool verify_says(long result)
{
    return result != X509_V_OK && result != 1;
}

static int fail_certificate(struct transfer *t, const char *says, struct error *err)
{
    CURL *easy = t->client->easy;
    long ours = 0, proxys = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &ours);
    (void)curl_easy_getinfo(easy, CURLINFO_PROXY_SSL_VERIFYRESULT, &proxys);
    if (t->proxy && !verify_says(ours) && verify_says(proxys))
        return error_set(err, ERROR_CONFIG, "the certificate of the proxy %s is not trusted: %s",
                         t->proxy->show, X509_verify_cert_error_string(proxys));
    if (!verify_says(ours)) /* then it was the name */
        return error_set(err, ERROR_CONFIG,
                         "the server's certificate is not trusted: %s; "
                         "--skip-tls-verify-registry HOST takes any",
                         says);
    return error_set(err, ERROR_CONFIG,
                     "the server's certificate is not trusted: %s; %s--registry-certificate "
                     "HOST=FILE adds its CA, --skip-tls-verify-registry HOST takes any",
                     X509_verify_cert_error_string(ours),
                     roots_count(t->client->http->roots)
                         ? ""
                         : "no trusted roots were found here (is ca-certificates installed?); ");
}

/* A proxy's answer to CONNECT. */
static int fail_connect_code(const struct transfer *t, long status, struct error *err)
{
    bool refused = status == 401 || status == 403 || status == 407;
    return error_set(err, refused ? ERROR_REFUSED : ERROR_TRANSIENT,
                     "the proxy %s answers %ld to CONNECT%s", t->proxy->show, status,
                     status == 407 ? ": it wants a user name and password in its URL" : "");
}

static int fail_socks(struct transfer *t, const char *says, struct error *err)
{
    long why = CURLPX_OK;
    (void)curl_easy_getinfo(t->client->easy, CURLINFO_PROXY_ERROR, &why);
    bool refused =
        why == CURLPX_NO_AUTH || why == CURLPX_USER_REJECTED || why == CURLPX_REPLY_NOT_ALLOWED;
    return error_set(err, refused ? ERROR_REFUSED : ERROR_TRANSIENT, "the proxy %s: %s",
                     t->proxy ? t->proxy->show : "", says);
}

static int fail_connect(struct transfer *t, const char *host, struct error *err)
{
    long errnum = 0;
    (void)curl_easy_getinfo(t->client->easy, CURLINFO_OS_ERRNO, &errnum);
    const char *why = errnum ? strerror((int)errnum) : "no address answers";
    if (t->proxy)
        return error_set(err, ERROR_TRANSIENT, "cannot connect to the proxy %s: %s", t->proxy->show,
                         why);
    if (t->refused && !t->allowed)
        return error_set(err, ERROR_REFUSED,
                         "%s leads to %s, a %s address, where this request may not go", host,
                         t->refused_address, address_class_name(t->refused_class));
    return error_set(err, ERROR_TRANSIENT,
                     "cannot connect to %s port %u: %s (is a registry there, and the port right?)",
                     host, (unsigned)t->url.port, why);
}

static int fail_timeout(struct transfer *t, const char *host, struct error *err)
{
    curl_off_t resolved = 0;
    (void)curl_easy_getinfo(t->client->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
    cleanup_free char *limit = duration_format(transfer_connect_timeout(t));
    t->response->timed_out = true;
    if (t->proxy)
        return error_set(err, ERROR_TRANSIENT, "no connection through the proxy %s within %s",
                         t->proxy->show, limit);
    if (resolved == 0)
        return error_set(err, ERROR_TRANSIENT, "DNS has no answer for %s within %s", host, limit);
    return error_set(err, ERROR_TRANSIENT, "no connection to %s port %u within %s", host,
                     (unsigned)t->url.port, limit);
}

static int fail_tls(struct transfer *t, const char *says, struct error *err)
{
    const char *words = tls_words(says, &t->response->no_tls);
    if (words)
        return error_set(err, ERROR_CONFIG, "%s", words);
    return error_set(err, ERROR_TRANSIENT, "TLS: %s", says);
}

int transfer_failed(struct transfer *t, CURLcode code, struct error *err)
{
    cleanup_free char *host = text_foreign_str(t->url.host);
    cleanup_free char *says =
        text_foreign_str(t->curl_says[0] ? t->curl_says : curl_easy_strerror(code));
    long connect_code = 0;
    (void)curl_easy_getinfo(t->client->easy, CURLINFO_HTTP_CONNECTCODE, &connect_code);
    if (t->proxy && connect_code && connect_code / 100 != 2)
        return fail_connect_code(t, connect_code, err);

    switch (code) {
    case CURLE_OUT_OF_MEMORY: /* which is also what it says of a header line of 100 KiB */
        return error_set(err, ERROR_PROTOCOL, "a header line is too long, or memory is short");
    case CURLE_COULDNT_RESOLVE_PROXY:
        return error_set(err, ERROR_TRANSIENT, "DNS knows no such host: the proxy %s",
                         t->proxy ? t->proxy->show : "");
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_set(err, ERROR_TRANSIENT,
                         "no such host: %s (is it spelled right, does DNS work here?)", host);
    case CURLE_COULDNT_CONNECT:
        return fail_connect(t, host, err);
    case CURLE_OPERATION_TIMEDOUT:
        return fail_timeout(t, host, err);
    case CURLE_PROXY:
        return fail_socks(t, says, err);
    case CURLE_PEER_FAILED_VERIFICATION:
        return fail_certificate(t, says, err);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        if (t->url.https)
            return fail_tls(t, says, err);
        break;
    case CURLE_PARTIAL_FILE:
        return error_set(err, ERROR_TRANSIENT, "the connection was cut before the end: %s", says);
    case CURLE_GOT_NOTHING:
        return error_set(err, ERROR_TRANSIENT,
                         "the server closed the connection without an answer");
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CLIENTCERT:
        return error_set(err, ERROR_CONFIG, "TLS: %s", says);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return error_set(err, ERROR_PROTOCOL, "the answer is not HTTP%s: %s",
                         t->url.https ? "" : " (does it want HTTPS?)", says);
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_CONTENT_ENCODING:
        return error_set(err, ERROR_PROTOCOL, "%s", says);
    default:
        break;
    }
    /* HTTP/2 and whatever libcurl learns to fail with: retries are bounded, so that trying again
     * costs little and giving up too early an image. */
    return error_set(err, ERROR_TRANSIENT, "%s", says);
}
