//! Signature Version 4 as a server checks it, made from AWS's description and held against its published example.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>

use ring::hmac;

use ml_inference::registry::Sha256;

/// The error is S3's code.
pub(crate) fn check(head: &str, user: &str, secret: &str) -> Result<(), &'static str> {
    let (request_line, headers) = head.split_once("\r\n").expect("a head");
    let header = |name: &str| {
        headers.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let authorization = header("authorization").ok_or("AccessDenied")?;
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("AccessDenied")?;
    let field = |name: &str| {
        let mut fields = rest.split(',').filter_map(|field| field.trim().split_once('='));
        fields.find_map(|(found, value)| (found == name).then_some(value))
    };
    let credential = field("Credential").ok_or("AccessDenied")?;
    let (key, scope) = credential.split_once('/').ok_or("AccessDenied")?;
    if key != user {
        return Err("InvalidAccessKeyId");
    }

    let signed = field("SignedHeaders").ok_or("AccessDenied")?;
    let canonical_headers: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", header(name).unwrap_or_default()))
        .collect();
    let mut parts = request_line.split(' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let payload = header("x-amz-content-sha256").unwrap_or_default();
    let canonical = format!("{method}\n{path}\n{query}\n{canonical_headers}\n{signed}\n{payload}");
    let date = header("x-amz-date").unwrap_or_default();
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        Sha256::of(canonical.as_bytes())
    );

    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| sign(&key, part));
    let signature: String = sign(&key, &to_sign).iter().map(|byte| format!("{byte:02x}")).collect();
    match field("Signature") == Some(&signature) {
        true => Ok(()),
        false => Err("SignatureDoesNotMatch"),
    }
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

#[test]
fn the_published_example_is_accepted_and_no_other() {
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let head = "GET /test.txt HTTP/1.1\r\n\
        Host: examplebucket.s3.amazonaws.com\r\n\
        Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
        SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
        Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n\
        Range: bytes=0-9\r\n\
        x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\
        x-amz-date: 20130524T000000Z\r\n\r\n";
    let user = "AKIAIOSFODNN7EXAMPLE";
    assert_eq!(check(head, user, SECRET), Ok(()));
    assert_eq!(check(head, user, "another"), Err("SignatureDoesNotMatch"));
    assert_eq!(check(head, "another", SECRET), Err("InvalidAccessKeyId"));
    let other = head.replace("bytes=0-9", "bytes=0-8");
    assert_eq!(check(&other, user, SECRET), Err("SignatureDoesNotMatch"));
    assert_eq!(
        check("GET / HTTP/1.1\r\nhost: a\r\n\r\n", user, SECRET),
        Err("AccessDenied")
    );
}
