"""Telephones' AMR is read by every PyAV; since 19 none can be made with it, so that the sound is kept here."""

import base64
import zlib

import numpy as np
from numpy.testing import assert_allclose

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE

# One second of a sine of 220 Hz and amplitude 0.5 at 12.2 kbit/s, by PyAV 18 (libopencore_amrnb).
SINE = zlib.decompress(
    base64.b85decode(
        b"c-l?WdsNbA7zc0^yhnLUlh#o2eo3;LRy2W1u-VDdWA)}S({xs@P|Kp}{Ds#OUa)Pbl$x1MJQ|p0)=9<Nyp@8N&G0r&yrc<QO^qp|slWF3d%ov=-p"
        b"~0yFV2i~<hV8gfpDYJr<-O{elH$B9^x)Q1h7p^#?B!SYW&8oay|hgm|)Qr3zB;xu<J%|NxMkCRV`+*=>8GpQE~{75mXUF)R@{lRuNs?jP-jta&Ej"
        b"8hy#Wl1I<;9#2qq%I!2l2jhQ8iz>iw8xMk_FcMn`62#wp{D@uh383BcouwvwSi)s*N$>G`2-YOiLEA<bxDtdM(ORmo+ptRbq(|J=WQxHI;v|0^1N"
        b"B*t)(mq#bzVoI%=`^08zF~+O8`;k_hCm-8s=C{JXU|-j%Y*Ey_|s*loN3B@yK?^i{3j4l-*Pm)j`}3{H{BrZ7J=cu+YMWk=cu7%Ixm-$kpS-K8ct"
        b"58I_{0%hq=C@^U*Q-xgMT?(wtyLORM`-ML=G-61L)c-&WT*Si=sP87Adk;(yLlqosM1NC+?+ac2gE0kJu{YWtlt^}fyV2;&pfH@CB5BbOF6Y{XNe"
        b"HOLWkqQ2G*gP`;2JCX`INvnCfBA3L3KyCGdO#<i2t7uHiv_7A^a5vJO_TT+<-r~(n2ypKZRXYZG;xY4q4{p-D;cKk7tA5J+>*^SsLlNG(z0$&Eqo"
        b"U_m^O1g^sv0WS{1i*9G6;-wA~NTT<HEE?DYAoGzcZz<idX$&YL~J!7~(pSBh)n4Y#^!asSHZnmgvcG!^3_J5I|249(x@SZwJ^qMMz`c$}$5@8SGb"
        b"{09ck8$<1hcc9&Q~nq_gxRzJ`I_N&W*fWm2TRP->g#Uw7u;fEXL;jORiV84+h2&81rusgDcv40G1$DgMx&h90be(^J~5jR|<-EWDG7somy?L5C{G"
        b"5XY1@UUMV1laGRni^ev?6=)8)I`U9by4F|i468jhk!)Q4B0Gaj_aPtW-d&458Zx|hF|v+bTc@foO%Pnk@OW}TQ!wb^=59?YXJ}Y6+obanT?t!%R9"
        b"JpyDKQZhgB{}#IjXCc|X^iA(kN}?5UW?x><ZJV@*L$eGWoT2K%)`Kx_Y)=+lO?<eok++w7*AM-}`@JnZ*#0?154WwcDXMQHa2mPg^Jn~VyqW$S)I"
        b"Wj_==>-y!?!yU*;tHQ9KlCA|lal)_r{iS?=GLI$vKsMyQmEUrc<<`CY^p=B%{dOq*tb$BhLqJzWt}mAKVho-1m?ne$ls>-%Ii<|)?AeX#*V$a?Vo"
        b"BNV-^X9`>(5vAC+7Cqt<tKp6&;Q68SF&!pC$ITG`N2a3=VaV`Ci4q<%!g;Ug1u2d5uxZ0uA=dhrqk(VxxKTbcf~PZ32qd$$Qw0fwlh0tNYX#V#(K"
        b"uJ;LyerkZb-y{2BJ*-fOg;r->0KmfHAdZqn}Iu}LuBW_I63wuOH@?pQY1dywiif@d@b<Kx1>x`c-MP7Jl`elF3ARzy^v2w;5Ge<N@I1uc9lc;JFK"
        b"!g31`^DJg*wljccM5H@Y_wp7R}3eQ$=3a3c{bwNAfH=<<{@8Wz=*??0&g9;u?6m*2MGchXG#l&BkAF6@u^84G|{vVG~(C%#Gn11#t{uVYioO3-=r"
        b"AE%CRemTTl6L|3nN91?Ozu{ZHqLVeEpDtD8h#{K{1Z`zhxeVP4-g<j(X&VT=Ttd9TB1e#Wc)i*@<@e}Xxe<=pmBtk6Q${&DxNbCjrh6aKoNSv3R>"
        b"ytC|V(_&ui$@#TpPf}a(6%Pjf|9*FkEvOSJwzFdm1(&hIr8ryh0oYGiB?2Fs{UnXNNV-SPA<T^TX?OpOK;?d#nh{T&I(9PK=R$p&Hq;(Ux`*Rq4!"
        b"YW?pthJkNBj#rdm&2"
    )
)


def test_amr_of_a_telephone_is_the_sine_that_was_spoken_into_it() -> None:
    recording = read_recording(SINE)
    assert (recording.container, recording.codec, recording.sample_rate) == ("amr", "amrnb", 8_000)
    assert_allclose(recording.seconds, 1, atol=0.05)
    middle = recording.waveform[SAMPLE_RATE // 4 : 3 * SAMPLE_RATE // 4]
    assert np.abs(np.fft.rfft(middle)).argmax() == 110  # half a second: one bin is two hertz
    assert_allclose(np.sqrt(np.mean(middle**2)), 0.5 / np.sqrt(2), rtol=0.25)
