//! Formatted expansion of `codec_of_the_users`.

pub struct Rot13;
::faust::__private::support::inventory::submit! {
    ::faust::__private::support::CodecDef { name : "rot13", codec : & Rot13, file :
    ::core::file!(), line : ::core::line!(), }
}
